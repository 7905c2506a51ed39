"""Holds a farm's answer against headroom's, message by message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from .corpus import Conversation

MARKERS = {
    "html": "[HTML page reduced to its text. Retrieve original: hash=",
    "diff": "Retrieve full diff: hash=",
    "trim": "[Diff trimmed to its changes. Retrieve original: hash=",
    "text": "[Text shortened to its key lines. Retrieve original: hash=",
}
"""The farm's deliberate differences, by the marker that makes them safe. See
docs/architecture.md, "Where the farm differs"."""

MARKER_TOKENS = 32
"""Where headroom elided dense lines of a page's text, its marker leads to that text only;
the farm's own, at most this long, leads to the page."""


class Reference(msgspec.Struct):
    """What ``headroom.compress()`` made of a conversation."""

    messages: list[dict[str, Any]]
    tokens_before: int
    tokens_after: int
    transforms: list[str]


def references(cases: Iterable[Conversation]) -> list[Reference]:
    """Run the oracle over ``cases`` in a process without a line of the farm."""
    lines = [
        json.dumps({"messages": c.messages, "model": c.model, "options": c.options}) for c in cases
    ]
    script = Path(__file__).with_name("reference.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [msgspec.json.decode(line, type=Reference) for line in done.stdout.splitlines()]


class Verdict(msgspec.Struct):
    """Deliberate differences by kind, and everything that should not be."""

    deliberate: Counter[str]
    faults: list[str]


def compare(case: Conversation, answer: dict[str, Any], reference: Reference) -> Verdict:
    """Compare one answer: equal byte for byte, but for the deliberate differences."""
    verdict = Verdict(Counter(), [])
    ours, theirs = answer["messages"], reference.messages
    if answer["degraded"]:
        verdict.faults.append(f"degraded: {answer['degraded']}")
    if len(ours) != len(theirs):
        verdict.faults.append(f"{len(ours)} messages for {len(theirs)}")
        return verdict
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if _bytes(mine) == _bytes(other):
            continue
        kinds = [kind for kind, marker in MARKERS.items() if marker in json.dumps(mine)]
        is_output = mine["role"] in ("tool", "function") or any(
            b.get("type") == "tool_result" for b in _blocks(mine)
        )
        if kinds and is_output and len(_bytes(mine)) < len(_bytes(case.messages[index])):
            verdict.deliberate.update(kinds)
        else:
            verdict.faults.append(
                f"message {index}:\n  farm     {_bytes(mine)[:400]!r}"
                f"\n  headroom {_bytes(other)[:400]!r}"
            )
    if answer["tokens_before"] != reference.tokens_before:
        verdict.faults.append(
            f"tokens before {answer['tokens_before']} for {reference.tokens_before}"
        )
    if not verdict.deliberate and answer["tokens_after"] != reference.tokens_after:
        verdict.faults.append(f"tokens after {answer['tokens_after']} for {reference.tokens_after}")
    allowed = reference.tokens_after + MARKER_TOKENS * verdict.deliberate["html"]
    if verdict.deliberate and answer["tokens_after"] > allowed:
        verdict.faults.append(f"tokens after {answer['tokens_after']}, over {allowed}")
    return verdict


def _bytes(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
