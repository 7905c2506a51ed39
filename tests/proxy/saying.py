"""Builds the providers' answers, plain and streamed, from a few parts.

A part is ``("think", text)``, ``("text", text)``, ``("get", id, hash)``, or ``("own", id)``, which
may be followed by a tool's name and its input in JSON.
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from .rules import SIGNED
from .scripted import Said, whole

Part = tuple[str, ...]
RETRIEVE = "headroom_retrieve"


def _call(part: Part) -> tuple[str, str, dict[str, Any]]:
    if part[0] == "get":
        return part[1], RETRIEVE, {"hash": part[2]}
    if len(part) > 2:
        return part[1], part[2], json.loads(part[3])
    return part[1], "Bash", {"command": "ls -la"}


def _is_call(part: Part) -> bool:
    return part[0] in ("get", "own")


def _sse(events: list[dict[str, Any]]) -> list[bytes]:
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def _number(parts: tuple[Part, ...]) -> int:
    """Return a unique number for an answer, because clients merge answers with the same id."""
    return crc32(repr(parts).encode())


def _pieces(text: str) -> list[str]:
    return [text[i : i + 7] for i in range(0, len(text), 7)]


class Anthropic:
    """The Messages API. Each answer used 100 tokens of input and 10 of output."""

    path = "/v1/messages"
    array = "messages"

    @staticmethod
    def block(part: Part) -> dict[str, Any]:
        if part[0] == "think":
            return {"type": "thinking", "thinking": part[1], "signature": SIGNED + part[1]}
        if part[0] == "text":
            return {"type": "text", "text": part[1]}
        identity, name, given = _call(part)
        return {"type": "tool_use", "id": identity, "name": name, "input": given}

    @classmethod
    def message(cls, *parts: Part, stop: str = "") -> dict[str, Any]:
        calls = any(_is_call(part) for part in parts)
        usage = {"input_tokens": 100, "cache_read_input_tokens": 0, "output_tokens": 10}
        return {
            "id": f"msg_{_number(parts)}",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": [cls.block(part) for part in parts],
            "stop_reason": stop or ("tool_use" if calls else "end_turn"),
            "stop_sequence": None,
            "usage": usage,
        }

    @classmethod
    def plain(cls, *parts: Part) -> Said:
        return whole(cls.message(*parts))

    @classmethod
    def events(cls, *parts: Part, stop: str = "") -> list[bytes]:
        message = cls.message(*parts, stop=stop)
        usage = {**message["usage"], "output_tokens": 1}
        begun = {**message, "content": [], "stop_reason": None, "usage": usage}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
        for index, block in enumerate(message["content"]):
            start, deltas = cls._streamed(block)
            events.append({"type": "content_block_start", "index": index, "content_block": start})
            events.append({"type": "ping"})
            events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
            events.append({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 10}})
        return _sse([*events, {"type": "message_stop"}])

    @staticmethod
    def _streamed(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if block["type"] == "tool_use":
            pieces = _pieces(json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in ["", *pieces]]
            return {**block, "input": {}}, deltas
        name = "text" if block["type"] == "text" else "thinking"
        deltas = [{"type": f"{name}_delta", name: piece} for piece in _pieces(block[name])]
        if name == "thinking":
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {**block, "thinking": "", "signature": ""}, deltas
        return {**block, "text": ""}, deltas


class Chat:
    """Chat Completions."""

    path = "/v1/chat/completions"
    array = "messages"

    @staticmethod
    def message(*parts: Part) -> dict[str, Any]:
        text = "".join([part[1] for part in parts if part[0] == "text"])
        calls = [
            {
                "id": identity,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(given)},
            }
            for identity, name, given in map(_call, filter(_is_call, parts))
        ]
        message = {"role": "assistant", "content": text or None, "refusal": None}
        return {**message, "tool_calls": calls} if calls else message

    @classmethod
    def plain(cls, *parts: Part) -> Said:
        message = cls.message(*parts)
        reason = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return whole({**cls._head(), "object": "chat.completion", "choices": [choice]})

    @staticmethod
    def _head() -> dict[str, Any]:
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {"id": "chatcmpl_1", "created": 1, "model": "gpt-x", "usage": usage}

    @classmethod
    def events(cls, *parts: Part, usage: bool = True) -> list[bytes]:
        message = cls.message(*parts)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in _pieces(message["content"] or "")]
        for index, call in enumerate(message.get("tool_calls", [])):
            function = {"name": call["function"]["name"], "arguments": ""}
            deltas.append({"tool_calls": [{**call, "index": index, "function": function}]})
            for piece in _pieces(call["function"]["arguments"]):
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        reason = "tool_calls" if "tool_calls" in message else "stop"
        head = {**cls._head(), "object": "chat.completion.chunk"}
        told = head.pop("usage")
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": reason})
        chunks = [{**head, "choices": [choice]} for choice in choices]
        if usage:
            chunks.append({**head, "choices": [], "usage": told})
        return [f"data: {json.dumps(c)}\n\n".encode() for c in chunks] + [b"data: [DONE]\n\n"]


class Responses:
    """The Responses API."""

    path = "/v1/responses"
    array = "input"

    @staticmethod
    def item(part: Part) -> dict[str, Any]:
        if part[0] == "think":
            return {
                "type": "reasoning",
                "id": f"rs_{len(part[1])}",
                "summary": [],
                "encrypted_content": SIGNED + part[1],
            }
        if part[0] == "text":
            content = {"type": "output_text", "text": part[1], "annotations": []}
            item = {"type": "message", "id": f"m_{len(part[1])}", "role": "assistant"}
            return {**item, "status": "completed", "content": [content]}
        identity, name, given = _call(part)
        return {
            "type": "function_call",
            "id": f"fc_{identity}",
            "call_id": identity,
            "name": name,
            "arguments": json.dumps(given),
            "status": "completed",
        }

    @classmethod
    def response(cls, *parts: Part) -> dict[str, Any]:
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 110,
        }
        return {
            "id": f"resp_{_number(parts)}",
            "object": "response",
            "created_at": 1,
            "model": "gpt-x",
            "status": "completed",
            "output": [cls.item(part) for part in parts],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }

    @classmethod
    def plain(cls, *parts: Part) -> Said:
        return whole(cls.response(*parts))

    @classmethod
    def events(cls, *parts: Part) -> list[bytes]:
        response = cls.response(*parts)
        begun = {**response, "status": "in_progress", "output": [], "usage": None}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for index, item in enumerate(response["output"]):
            at = {"output_index": index}
            events.append({"type": "response.output_item.added", **at, "item": _begun(item)})
            events += [{**event, **at, "item_id": item["id"]} for event in _between(item)]
            events.append({"type": "response.output_item.done", **at, "item": item})
        events.append({"type": "response.completed", "response": response})
        return _sse([{**event, "sequence_number": n} for n, event in enumerate(events)])


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] == "function_call":
        return {**item, "arguments": "", "status": "in_progress"}
    if item["type"] == "message":
        return {**item, "content": [], "status": "in_progress"}
    return item


def _between(item: dict[str, Any]) -> list[dict[str, Any]]:
    if item["type"] == "function_call":
        kind = "response.function_call_arguments"
        deltas = [{"type": f"{kind}.delta", "delta": p} for p in _pieces(item["arguments"])]
        return [*deltas, {"type": f"{kind}.done", "arguments": item["arguments"]}]
    if item["type"] != "message":
        return []
    content = item["content"][0]
    part = {"content_index": 0, "part": {**content, "text": ""}}
    at = {"content_index": 0, "logprobs": []}
    return [
        {"type": "response.content_part.added", **part},
        *[
            {"type": "response.output_text.delta", "delta": p, **at}
            for p in _pieces(content["text"])
        ],
        {"type": "response.output_text.done", "text": content["text"], **at},
        {"type": "response.content_part.done", "content_index": 0, "part": content},
    ]


APIS: list[Any] = [Anthropic, Chat, Responses]
