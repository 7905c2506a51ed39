"""Compares a farm's answer with headroom's, message by message."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from .corpus import Conversation

NOTES = {
    "extract": re.compile(r"omitted in all\. Retrieve original: hash=[a-f0-9]{24}\]"),
    "html": re.compile(r"\[HTML page reduced to its text\. Retrieve original: hash="),
    "text": re.compile(r"\[Text shortened to its key words\. Retrieve original: hash="),
    "reversible": re.compile(
        r"\[\.\.\. (?:each of the next \d+ lines begins|the line above|each path is said once"
        r"|JSON in fewer|rows 1: )"
    ),
    "reference": re.compile(r"omitted here\]"),
}
"""How the farm's own forms are known. See docs/architecture.md, "Where the farm differs"."""


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
        original = _bytes(case.messages[index])
        if _bytes(mine) == original:
            verdict.deliberate["verbatim"] += 1
            continue
        kinds = [kind for kind, note in NOTES.items() if note.search(_said(mine))]
        if kinds and len(_bytes(mine)) < len(original):
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
    return verdict


def _bytes(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _said(message: dict[str, Any]) -> str:
    """Return the message's texts, as they are read and not as JSON spells them."""
    return _bytes(message).decode("utf-8", "replace").replace('\\"', '"')
