"""Conversations with tool results, in the formats of three APIs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

from loadtest.fidelity.sample import Sample

Shape = Literal["anthropic", "openai", "responses"]
SHAPES: tuple[Shape, ...] = get_args(Shape)


def turns(
    shape: Shape,
    samples: Sequence[Sample],
    shown: Sequence[str] | None = None,
    *,
    same_id: bool = False,
) -> dict[str, Any]:
    """Return a request in which each sample is the result of its command.

    ``shown`` are texts that replace the samples'; ``same_id`` gives all calls the same id.
    """
    items: list[dict[str, Any]] = [{"role": "user", "content": "What is going on here?"}]
    for number, sample in enumerate(samples):
        identity = "call_0" if same_id else f"call_{number}"
        text = sample.text if shown is None else shown[number]
        items += _turn(shape, identity, sample.command, text)
    if shape == "responses":
        return {"model": "gpt-5", "input": items}
    model = "claude-sonnet-4-5" if shape == "anthropic" else "gpt-4o"
    return {"model": model, "messages": items}


def _turn(shape: Shape, identity: str, command: str, text: str) -> list[dict[str, Any]]:
    if shape == "anthropic":
        call = {"type": "tool_use", "id": identity, "name": "Bash", "input": {"command": command}}
        result = {"type": "tool_result", "tool_use_id": identity, "content": text}
        return [
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]
    if shape == "openai":
        function = {"name": "run_command", "arguments": json.dumps({"command": command})}
        return [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": identity, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": identity, "content": text},
        ]
    arguments = json.dumps({"command": ["bash", "-lc", command], "timeout_ms": 1000})
    return [
        {"type": "function_call", "call_id": identity, "name": "shell", "arguments": arguments},
        {"type": "function_call_output", "call_id": identity, "output": text},
    ]


def results(shape: Shape, answer: dict[str, Any]) -> list[str]:
    """Return the texts of an answer's tool results, in order."""
    if shape == "responses":
        return [x["output"] for x in answer["input"] if x.get("type") == "function_call_output"]
    if shape == "openai":
        return [m["content"] for m in answer["messages"] if m["role"] == "tool"]
    return [
        part["content"]
        for message in answer["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "tool_result"
    ]
