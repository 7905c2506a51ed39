"""What headroom reads from messages: the calls they make and the question they ask."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from shared.jobs import ToolCall

from . import environment  # noqa: F401 - before headroom
from headroom.transforms.content_router import ContentRouter
from headroom.utils import extract_user_query

from .planner import router_config


def tool_calls(message: dict[str, Any]) -> dict[str, ToolCall]:
    """Return the tool calls that an assistant message makes, by id."""
    reader = _call_reader()
    names = reader._build_tool_name_map([message])
    return {
        i: ToolCall(name, reader._tool_call_args.get(i, ""), reader._tool_call_commands.get(i, ""))
        for i, name in names.items()
    }


@lru_cache(maxsize=1)
def _call_reader() -> ContentRouter:
    return ContentRouter(router_config(marker_mode="ccr", code_aware=False))


def user_query(message: dict[str, Any]) -> str:
    """Return the user's question in this message, empty if it holds none."""
    query: str = extract_user_query([message])
    return query


def analysis_intent(message: dict[str, Any]) -> bool:
    """Return whether this message, the user's last one, asks about code."""
    return bool(_call_reader()._detect_analysis_intent([message]))
