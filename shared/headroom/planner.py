"""Headroom's router up to the engines: every rule, no compression."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.jobs import ToolCall

from . import detection, environment  # noqa: F401 - before headroom
from headroom.config import ReadLifecycleConfig, RelevanceScorerConfig
from headroom.transforms import content_router as _router
from headroom.transforms.content_router import (
    CompressionCache,
    CompressionStrategy,
    ContentRouter,
    ContentRouterConfig,
    RouterCompressionResult,
)

from .counting import NO_COUNT, Counter

INLINE_FOLD_CHARS = 2048
"""Outputs of excluded tools below this size, in bytes, are folded on the front end: folding 2 KB
takes about 0.1 ms, a round trip through the queue takes several."""

_NOOP = "router:noop"
_CODE_PROTECTED = frozenset({"router:protected:recent_code", "router:protected:analysis_context"})


class Planned(NamedTuple):
    """The verdict of headroom's rules on one message (with at most one content block).

    ``message`` is the message after any changes made here; ``texts`` are the texts for an engine;
    ``fold`` means that they may only be folded without loss, or are folded first; ``code`` means
    that the verdict depends on whether the message is recent or the user asks about code.
    """

    message: dict[str, Any]
    transforms: tuple[str, ...]
    texts: tuple[str, ...]
    fold: bool
    code: bool


class _NoCache(CompressionCache):
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


class Planner(ContentRouter):
    """Headroom's router up to the engines: every rule, no compression."""

    def __init__(self, *, marker_mode: str, code_aware: bool) -> None:
        super().__init__(router_config(marker_mode=marker_mode, code_aware=code_aware))
        self._cache = _NoCache()
        self._calls: dict[str, ToolCall] = {}
        self._analysis = False
        self._texts: list[str] = []
        self._fold = False
        self._code = False

    def plan(
        self,
        message: dict[str, Any],
        *,
        calls: dict[str, ToolCall],
        counter: Counter,
        recent: bool,
        analysis: bool,
        min_tokens: int,
        min_chars: int = 500,
        compress_user_messages: bool,
        protect_analysis: bool = True,
        compress_system_messages: bool = False,
    ) -> Planned:
        """Apply headroom's rules to one message.

        ``calls`` are the tool calls that its results answer, by id; ``recent`` means that it is
        among the messages whose code is protected; ``analysis`` means that the user's last
        message asks about code, which ``protect_analysis`` then keeps unchanged.
        """
        self._calls = calls
        self._analysis = analysis
        self._texts = []
        self._fold = False
        self._code = False
        result = self.apply(
            [message],
            # The router counts str(content), but does not use the count if content is a list.
            counter if isinstance(message.get("content"), str) else NO_COUNT,
            model_limit=0,
            context="",
            protect_recent=1 if recent else 0,
            protect_analysis_context=protect_analysis,
            min_tokens_to_compress=min_tokens,
            min_chars_for_block_compression=min_chars,
            compress_user_messages=compress_user_messages,
            compress_system_messages=compress_system_messages,
        )
        transforms = tuple(t for t in result.transforms_applied if t != _NOOP)
        code = self._code or not _CODE_PROTECTED.isdisjoint(transforms)
        return Planned(result.messages[0], transforms, tuple(self._texts), self._fold, code)

    def compress(
        self,
        content: str,
        context: str = "",
        question: str | None = None,
        bias: float = 1.0,
        precomputed_detection: Any = None,
    ) -> RouterCompressionResult:
        """Record the text instead of compressing it."""
        self._texts.append(content)
        if precomputed_detection is not None:
            self._code = precomputed_detection.content_type == _router.ContentType.SOURCE_CODE
        return RouterCompressionResult(
            compressed=content, original=content, strategy_used=CompressionStrategy.PASSTHROUGH
        )

    def _build_tool_name_map(self, messages: list[dict[str, Any]]) -> dict[str, str]:
        """Return the calls' names: they are given, not read from earlier messages."""
        self._tool_call_args = {i: c.args for i, c in self._calls.items() if c.args}
        self._tool_call_commands = {i: c.command for i, c in self._calls.items() if c.command}
        return {i: c.name for i, c in self._calls.items()}

    def _detect_analysis_intent(self, messages: list[dict[str, Any]]) -> bool:
        return self._analysis

    def _lossless_compact_excluded(self, content: Any) -> tuple[str, str] | None:
        if isinstance(content, str) and len(content) >= INLINE_FOLD_CHARS:
            self._texts.append(content)
            self._fold = True
            return None
        folded: tuple[str, str] | None = super()._lossless_compact_excluded(content)
        return folded

    def _bash_search_fold(self, tool_name: str, tool_id: str, content: Any) -> str | None:
        if not isinstance(content, str) or len(content) < INLINE_FOLD_CHARS:
            folded: str | None = super()._bash_search_fold(tool_name, tool_id, content)
            return folded
        command = self._tool_call_commands.get(tool_id, "")
        if (
            command
            and tool_name.lower() in self.config.bash_tool_names
            and _router._bash_command_is_search(command, self.config.bash_search_commands)
        ):
            self._texts.append(content)
            self._fold = True
        return None
