"""Headroom's retrieval tool: reading the model's call of it."""

from __future__ import annotations

from typing import Any

from . import environment  # noqa: F401 - before headroom
from headroom.ccr.tool_injection import parse_tool_call


def retrieval_hash(call: dict[str, Any], provider: str) -> str | None:
    """Return the hash a tool call asks for, or None where it is no call of headroom's tool."""
    try:
        digest: str | None = parse_tool_call(call, provider)
    except (AttributeError, RecursionError):  # a 'function' that is no object
        return None
    return digest
