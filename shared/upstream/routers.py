"""Common base of the planning and the compressing router."""

from __future__ import annotations

from typing import Any

from shared.jobs import ToolCall

from . import environment  # noqa: F401 - before headroom
from headroom.config import ReadLifecycleConfig, RelevanceScorerConfig
from headroom.transforms.content_router import (
    CompressionCache,
    ContentRouter,
    ContentRouterConfig,
)

NOOP = "router:noop"


class NoCache(CompressionCache):
    """Headroom's process-wide result cache, switched off: results belong to one user."""

    def get(self, key: str) -> None:
        return None

    def is_skipped(self, key: str) -> bool:
        return False

    def put(self, key: str, compressed: str, ratio: float, strategy: str) -> None:
        return None

    def mark_skip(self, key: str) -> None:
        return None

    def move_to_skip(self, key: str) -> None:
        return None


def router_config(*, marker_mode: str, code_aware: bool) -> ContentRouterConfig:
    return ContentRouterConfig(
        lossless=marker_mode == "marker-free",
        enable_code_aware=code_aware,
        # Text that was sent never changes, even if a file read becomes stale later.
        read_lifecycle=ReadLifecycleConfig(enabled=False),
        # The hybrid scorer downloads a model; without the model headroom falls back to BM25 anyway.
        relevance=RelevanceScorerConfig(tier="bm25"),
    )


class FarmRouter(ContentRouter):
    """Headroom's router, given the tool calls instead of reading them from messages."""

    def __init__(self, config: ContentRouterConfig) -> None:
        super().__init__(config)
        self._cache = NoCache()
        self._calls: dict[str, ToolCall] = {}

    def _build_tool_name_map(self, messages: list[dict[str, Any]]) -> dict[str, str]:
        self._tool_call_args = {i: c.args for i, c in self._calls.items() if c.args}
        self._tool_call_commands = {i: c.command for i, c in self._calls.items() if c.command}
        return {i: c.name for i, c in self._calls.items()}
