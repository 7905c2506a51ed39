"""Headroom's retrieval tool: its definition, and reading the model's call of it."""

from __future__ import annotations

import sys
from typing import Any

from . import environment  # noqa: F401 - before headroom

_SERVER = "headroom.ccr.mcp_server"
if _SERVER not in sys.modules:
    # headroom's package imports its MCP server where that SDK is installed, and goes without it
    # where it cannot be: a quarter of the time in which a process starts.
    sys.modules[_SERVER] = None  # type: ignore[assignment]
from headroom.ccr.tool_injection import CCR_TOOL_NAME, create_ccr_tool_definition, parse_tool_call

if sys.modules[_SERVER] is None:
    del sys.modules[_SERVER]

RETRIEVAL_TOOL: str = CCR_TOOL_NAME


def retrieval_tool(dialect: str) -> dict[str, Any]:
    """Return the tool as a request offers it: ``anthropic``, ``openai`` or ``openai_responses``."""
    tool: dict[str, Any] = create_ccr_tool_definition(dialect)
    return tool


def retrieval_hash(call: dict[str, Any], provider: str) -> str | None:
    """Return the hash that a tool call asks for; None if it is no call of headroom's tool."""
    try:
        digest: str | None = parse_tool_call(call, provider)
    except (AttributeError, RecursionError):  # a 'function' that is no object
        return None
    return digest
