"""Headroom's retrieval tool: its definition, and how the model's calls of it are parsed."""

from __future__ import annotations

import sys
from typing import Any

from . import environment  # noqa: F401 - before headroom

_SERVER = "headroom.ccr.mcp_server"
if _SERVER not in sys.modules:
    # Make the import fail: headroom imports its MCP server only if it can, and the import takes a
    # quarter of a process's start time.
    sys.modules[_SERVER] = None  # type: ignore[assignment]
from headroom.ccr.tool_injection import CCR_TOOL_NAME, create_ccr_tool_definition, parse_tool_call

if sys.modules[_SERVER] is None:
    del sys.modules[_SERVER]

RETRIEVAL_TOOL: str = CCR_TOOL_NAME


def retrieval_tool(dialect: str) -> dict[str, Any]:
    """Return the definition for ``dialect``: ``anthropic``, ``openai`` or ``openai_responses``."""
    tool: dict[str, Any] = create_ccr_tool_definition(dialect)
    return tool


def retrieval_hash(call: dict[str, Any], provider: str) -> str | None:
    """Return the hash that a tool call asks for; None if it is not a call of headroom's tool."""
    try:
        digest: str | None = parse_tool_call(call, provider)
    except (AttributeError, RecursionError):  # 'function' is not an object
        return None
    return digest
