"""A gateway's turns in the formats of the three APIs: requests and providers' answers."""

from __future__ import annotations

import json
from typing import Any

from .farm import Farm, post
from .texts import call, events, result

SHAPES = ("anthropic", "openai", "openai_responses")
CAN = {"can_redrive": True, "can_relay_response": True, "session_affinity": False}
RETRIEVE = "headroom_retrieve"
RESPONSES = "/v1/compress/response"


def turn_request(shape: str, seed: str, **more: Any) -> dict[str, Any]:
    """Return a gateway's request with a log that is shortened with a marker."""
    text = events(seed)
    body: dict[str, Any] = {"gateway": CAN, "temperature": 0.5, **more}
    if shape == "anthropic":
        tools = [{"name": "Bash", "input_schema": {"type": "object"}}]
        messages = [{"role": "user", "content": "go"}, call("Bash", {"command": "make"}, "a")]
        return {
            "model": "claude-sonnet-4-20250514",
            "system": "be brief",
            "messages": [*messages, result(text, "a")],
            "tools": tools,
            **body,
        }
    function = {"name": "shell", "arguments": json.dumps({"command": "make"})}
    parameters = {"type": "object"}
    if shape == "openai":
        return {
            "model": "gpt-4o",
            "messages": [
                {"role": "user", "content": "go"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "a", "type": "function", "function": function}],
                },
                {"role": "tool", "tool_call_id": "a", "content": text},
            ],
            "tools": [
                {"type": "function", "function": {"name": "shell", "parameters": parameters}}
            ],
            **body,
        }
    return {
        "model": "gpt-5",
        "store": False,
        "input": [
            {"type": "message", "role": "user", "content": "go"},
            {"type": "function_call", "call_id": "a", **function},
            {"type": "function_call_output", "call_id": "a", "output": text},
        ],
        "tools": [{"type": "function", "name": "shell", "parameters": parameters}],
        **body,
    }


def asks(shape: str, digest: str, number: int = 0, *, own: bool = False) -> dict[str, Any]:
    """Return an answer with a retrieval call; with ``own``, also with a call of another tool."""
    name, arguments = f"r{number}", {"hash": digest}
    if shape == "anthropic":
        blocks: list[dict[str, Any]] = [
            {"type": "text", "text": f"looking {number}. "},
            {"type": "tool_use", "id": name, "name": RETRIEVE, "input": arguments},
        ]
        if own:
            blocks.append({"type": "tool_use", "id": "own", "name": "Bash", "input": {}})
        return _message(blocks, "tool_use", number)
    if shape == "openai":
        made = {"name": RETRIEVE, "arguments": json.dumps(arguments)}
        calls = [{"id": name, "type": "function", "function": made}]
        if own:
            other = {"name": "shell", "arguments": "{}"}
            calls.append({"id": "own", "type": "function", "function": other})
        return _completion({"content": f"looking {number}. ", "tool_calls": calls}, "tool_calls")
    made = {"name": RETRIEVE, "arguments": json.dumps(arguments)}
    items: list[dict[str, Any]] = [{"type": "function_call", "call_id": name, "id": name, **made}]
    if own:
        other = {"name": "shell", "arguments": "{}"}
        items.append({"type": "function_call", "call_id": "own", "id": "own", **other})
    return _response(items, number)


def says(shape: str, text: str) -> dict[str, Any]:
    """Return an answer without calls."""
    if shape == "anthropic":
        return _message([{"type": "text", "text": text}], "end_turn", 9)
    if shape == "openai":
        return _completion({"content": text}, "stop")
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
    return _response([{**item, "status": "completed"}], 9)


def text_of(shape: str, answer: dict[str, Any]) -> str:
    """Return the text of an answer."""
    if shape == "anthropic":
        return "".join(block.get("text", "") for block in answer["content"])
    if shape == "openai":
        return str(answer["choices"][0]["message"]["content"])
    parts = [p for item in answer["output"] for p in item.get("content", [])]
    return "".join(part["text"] for part in parts)


def items_of(shape: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the conversation of a request body."""
    found: list[dict[str, Any]] = body["input" if shape == "openai_responses" else "messages"]
    return found


def tool_names(body: dict[str, Any]) -> list[str]:
    """Return the names of a request's tools."""
    tools = [tool.get("function", tool) for tool in body["tools"]]
    return [tool["name"] for tool in tools]


def _message(blocks: list[dict[str, Any]], why: str, number: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 5,
        "output_tokens": 7,
    }
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "content": blocks,
        "stop_reason": why,
        "usage": usage,
    }


def _completion(said: dict[str, Any], why: str) -> dict[str, Any]:
    usage = {
        "prompt_tokens": 110,
        "completion_tokens": 7,
        "total_tokens": 117,
        "prompt_tokens_details": {"cached_tokens": 100},
    }
    message = {"role": "assistant", **said}
    choice = {"index": 0, "message": message, "finish_reason": why}
    return {"id": f"c{why}", "object": "chat.completion", "choices": [choice], "usage": usage}


def _response(items: list[dict[str, Any]], number: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 110,
        "input_tokens_details": {"cached_tokens": 100},
        "output_tokens": 7,
        "total_tokens": 117,
    }
    answer = {"id": f"resp_{number}", "object": "response", "status": "completed"}
    return {**answer, "output": items, "usage": usage}


def took_a_turn(farm: Farm, name: str) -> bool:
    """Return whether a complete turn of that user succeeds: both halves, with a retrieval."""
    first = farm.post(turn_request("openai", name), name).json
    answers = (asks("openai", first["ccr_hashes"][0]), says("openai", "ok"))
    given = {"x-maas-username": name}
    actions = [
        post(farm.url, {"turn_id": first["turn_id"], "response": one}, given, RESPONSES).json
        for one in answers
    ]
    return [one["action"] for one in actions] == ["redrive", "done"]
