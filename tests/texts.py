"""Conversations for tests: tool output in the formats of both APIs."""

from __future__ import annotations

import json
import logging
import pydoc
import re
from functools import cache
from typing import Any

import falcon

_DENIES = re.compile(
    r"\b(?:no|not|never|none|nor|neither|can|cannot|without|unless|except)\b|n't", re.I
)


def rows(seed: str = "", count: int = 120) -> str:
    """Return a JSON list that `farm_records` shrinks without loss."""
    return json.dumps(
        [{"id": i, "name": f"row {seed}{i}", "size": i * 17, "ok": i % 7 > 0} for i in range(count)]
    )


def events(seed: str = "", count: int = 400) -> str:
    """Return a log that is shortened with a marker."""
    return "\n".join(
        f"2026-01-01 00:{i // 60:02d}:{i % 60:02d} INFO {seed} step {i} of the build took {i} ms"
        for i in range(count)
    )


@cache
def page() -> str:
    """Return a complete HTML page."""
    inner = pydoc.HTMLDoc().document(json)  # type: ignore[no-untyped-call]
    return f"<!DOCTYPE html><html><head><title>json</title></head><body>{inner}</body></html>"


@cache
def prose(seed: str = "") -> str:
    """Return free text long enough to be compressed."""
    return f"{seed} " + " ".join((falcon.App.__doc__ or "").split()) * 3


@cache
def plain_prose(seed: str = "") -> str:
    """Return free text long enough to be compressed, without negations.

    A result that has lost a "not" is rejected, and the generated test models lose them.
    """
    documents = [f.__doc__ for _, f in sorted(vars(logging).items()) if callable(f) and f.__doc__]
    sentences = re.split(r"(?<=[.:]) ", " ".join(" ".join(documents).split()))
    kept = " ".join(s for s in sentences if not _DENIES.search(s))
    return f"{seed} {kept}"


def call(name: str, inputs: dict[str, Any], identity: str) -> dict[str, Any]:
    """Return an assistant message with one tool call (Anthropic)."""
    block = {"type": "tool_use", "id": identity, "name": name, "input": inputs}
    return {"role": "assistant", "content": [block]}


def result(text: Any, identity: str, **more: Any) -> dict[str, Any]:
    """Return a user message with one tool result (Anthropic)."""
    block = {"type": "tool_result", "tool_use_id": identity, "content": text, **more}
    return {"role": "user", "content": [block]}


def ran(text: Any, identity: str = "a") -> list[dict[str, Any]]:
    """Return a command and its output (Anthropic)."""
    return [call("Bash", {"command": f"make {identity}"}, identity), result(text, identity)]


def manual(text: Any, identity: str = "a") -> list[dict[str, Any]]:
    """Return a command that prints prose, and its output (Anthropic)."""
    return [call("Bash", {"command": f"man {identity}"}, identity), result(text, identity)]


def openai_ran(text: Any, identity: str = "a") -> list[dict[str, Any]]:
    """Return a command and its output (OpenAI chat)."""
    function = {"name": "Bash", "arguments": json.dumps({"command": f"make {identity}"})}
    calls = [{"id": identity, "type": "function", "function": function}]
    return [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": identity, "content": text},
    ]


def conversation(*parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request body with a neutral question and these parts."""
    start = [{"role": "user", "content": "what did the run print"}]
    return {"messages": [*start, *[m for part in parts for m in part]], "model": "claude-x"}
