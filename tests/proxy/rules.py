"""Rules for requests from the providers' published documentation.

Anthropic: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use and
https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking. OpenAI:
https://platform.openai.com/docs/guides/function-calling, and what its API answers where
``tool_calls`` have no tool messages.
"""

from __future__ import annotations

import json
import re
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
SIGNED = "signed:"
"""Required prefix of a thinking block's signature or a reasoning item's content; the rest is its
text."""


def broken_rule(path: str, body: bytes) -> str:
    """Return the rule that a request breaks; empty if it breaks none."""
    path = path.split("?", 1)[0]
    check = {
        "/v1/messages": _messages,
        "/v1/messages/count_tokens": _messages,
        "/v1/chat/completions": _chat,
        "/v1/responses": _responses,
    }.get(path)
    if check is None:
        return ""
    try:
        request = json.loads(body)
    except ValueError:
        return "the body is not JSON"
    try:
        return _tools(request) or check(request)
    except (KeyError, TypeError, AttributeError) as error:
        return f"a field is missing or of another type: {error!r}"


def _tools(request: dict[str, Any]) -> str:
    names = []
    for tool in request.get("tools") or []:
        function = tool.get("function") or tool
        name = function.get("name", tool.get("type"))
        if not _NAME.fullmatch(name):
            return f"tool name {name!r}"
        names.append(name)
    return "tool names must be unique" if len(names) != len(set(names)) else ""


def _messages(request: dict[str, Any]) -> str:
    messages = request["messages"]
    if not messages:
        return "messages: at least one message is required"
    pending: list[str] = []
    for number, message in enumerate(messages):
        content = message["content"]
        if not content and number < len(messages) - 1:
            return f"messages.{number}: all messages must have non-empty content"
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "user":
            broken = _answers(blocks, pending, number)
            pending = []
        elif message["role"] == "assistant":
            if pending:
                return f"messages.{number}: tool_use ids without tool_result: {pending}"
            broken = _signatures(blocks)
            pending = [block["id"] for block in blocks if block["type"] == "tool_use"]
        elif message["role"] == "system":
            broken = f"messages.{number}: no tool_result" if pending else ""
        else:
            return f"messages.{number}: role"
        if broken:
            return broken
    marks = json.dumps(request).count('"cache_control"')
    if marks > 4:
        return f"a maximum of 4 blocks with cache_control may be provided, found {marks}"
    return f"tool_use ids without tool_result: {pending}" if pending else ""


def _answers(blocks: list[dict[str, Any]], pending: list[str], number: int) -> str:
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if sorted(results) != sorted(pending):
        return f"messages.{number}: tool_result blocks {results} for tool_use {pending}"
    kinds = [block["type"] for block in blocks]
    if results and kinds[: len(results)] != ["tool_result"] * len(results):
        return f"messages.{number}: tool_result blocks must come first"
    empty = [b for b in blocks if b["type"] == "text" and not b["text"]]
    return "text content blocks must be non-empty" if empty else ""


def _signatures(blocks: list[dict[str, Any]]) -> str:
    for block in blocks:
        if block["type"] == "thinking" and block["signature"] != SIGNED + block["thinking"]:
            return "invalid signature in thinking block"
        if block["type"] == "text" and not block["text"]:
            return "text content blocks must be non-empty"
    return ""


def _chat(request: dict[str, Any]) -> str:
    pending: list[str] = []
    for number, message in enumerate(request["messages"]):
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in pending:
                return f"messages.{number}: 'tool' must follow a message with its 'tool_calls'"
            pending.remove(message["tool_call_id"])
            continue
        if pending:
            return f"messages.{number}: tool_calls without tool messages: {pending}"
        if role == "assistant":
            calls = message.get("tool_calls", [])
            if not isinstance(calls, list) or ("tool_calls" in message and not calls):
                return f"messages.{number}: tool_calls"
            if message.get("content") is None and not calls:
                return f"messages.{number}: content or tool_calls"
            pending = [call["id"] for call in calls]
    return f"tool_calls without tool messages: {pending}" if pending else ""


def _responses(request: dict[str, Any]) -> str:
    items = request["input"]
    if isinstance(items, str):
        return ""
    called: list[str] = []
    heard: list[str] = []
    for number, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            called.append(item["call_id"])
            json.loads(item["arguments"])
        elif kind == "function_call_output":
            known = item["call_id"] in called or "previous_response_id" in request
            if not known:
                return f"input.{number}: no tool call found for {item['call_id']}"
            heard.append(item["call_id"])
        elif kind == "reasoning":
            content = item.get("encrypted_content")
            if request.get("store") is False and not content:
                return f"input.{number}: reasoning was not stored"
            if content and not content.startswith(SIGNED):
                return f"input.{number}: the encrypted content could not be verified"
            if number + 1 == len(items):
                return f"input.{number}: reasoning without its following item"
    missing = [call for call in called if call not in heard]
    return f"no tool output found for function calls {missing}" if missing else ""
