"""What headroom reads from messages: the calls they make and the question they ask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from shared.jobs import ToolCall

from . import environment  # noqa: F401 - before headroom
from headroom.transforms.content_router import ContentRouter
from headroom.utils import extract_user_query

from .planner import router_config


_DEEPEST, _MOST_ARGS, _LONGEST_ARGS = 4, 20, 300
"""How much of a call's arguments is looked at."""


def tool_calls(message: dict[str, Any]) -> dict[str, ToolCall]:
    """Return the tool calls that an assistant message makes, by id."""
    reader = _call_reader()
    names = reader._build_tool_name_map([message])
    args = {**_nested_args(message), **reader._tool_call_args}
    return {
        i: ToolCall(name, args.get(i, ""), reader._tool_call_commands.get(i, ""))
        for i, name in names.items()
    }


def _nested_args(message: dict[str, Any]) -> dict[str, str]:
    """Return the arguments of Anthropic's calls by id, with those in lists: headroom skips them.

    ``{"paths": ["a.go", "b.go"]}`` is all that some tools take.
    """
    content = message.get("content")
    found = {}
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and isinstance(block.get("input"), dict):
            texts = " ".join(_texts_in(block["input"], _DEEPEST))
            found[block.get("id", "")] = texts[:_LONGEST_ARGS]
    return found


def _texts_in(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:_LONGEST_ARGS]
    elif depth and isinstance(value, dict | list):
        for inner in islice(value.values() if isinstance(value, dict) else value, _MOST_ARGS):
            yield from _texts_in(inner, depth - 1)


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
