"""Compares a farm's answer with headroom's, message by message."""

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
from .explain import Text, calls_of, texts, why_changed, why_whole


class Reference(msgspec.Struct):
    """The result of ``headroom.compress()`` for a conversation."""

    messages: list[dict[str, Any]]
    tokens_before: int
    tokens_after: int
    transforms: list[str]


def references(cases: Iterable[Conversation]) -> list[Reference]:
    """Run the oracle on ``cases`` in a process without any of the farm's code."""
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
    """Deliberate differences by name (``explain.py``), and all other differences."""

    deliberate: Counter[str]
    faults: list[str]


def compare(case: Conversation, answer: dict[str, Any], reference: Reference) -> Verdict:
    """Compare one answer: texts are equal byte for byte, or differ for a verified reason."""
    verdict = Verdict(Counter(), [])
    ours, theirs = answer["messages"], reference.messages
    if answer["degraded"]:
        verdict.faults.append(f"degraded: {answer['degraded']}")
    if len(ours) != len(case.messages):
        verdict.faults.append(f"{len(ours)} messages for {len(case.messages)}")
        return verdict
    calls = calls_of(case.messages)
    before: list[str] = []
    for index, message in enumerate(case.messages):
        mine = list(texts(ours[index]))
        if _around(message, mine) != ours[index]:
            verdict.faults.append(f"message {index}: more than its texts has changed")
        other = [text for text, _ in texts(theirs[index])] if index < len(theirs) else []
        for place, (original, call) in enumerate(texts(message)):
            shown = mine[place][0]
            same = place < len(other) and other[place] == shown
            if shown != original:
                name, wrong = why_changed(original, shown, before, calls.get(call))
                if wrong:
                    verdict.faults.append(f"message {index}: {name}: {wrong}\n{shown[:300]}")
                elif not same:
                    verdict.deliberate[name] += 1
            elif not same:
                applied = answer["transforms_applied"]
                role = str(message.get("role"))
                verdict.deliberate[why_whole(original, calls.get(call), role, applied)] += 1
            before.append(shown)
    if answer["tokens_before"] != reference.tokens_before:
        verdict.faults.append(
            f"tokens before {answer['tokens_before']} for {reference.tokens_before}"
        )
    if not verdict.deliberate and answer["tokens_after"] != reference.tokens_after:
        verdict.faults.append(f"tokens after {answer['tokens_after']} for {reference.tokens_after}")
    return verdict


def _around(message: dict[str, Any], shown: list[Text]) -> dict[str, Any]:
    """Return the message with its texts replaced by ``shown``."""
    left = iter(shown)

    def put(content: Any) -> Any:
        if isinstance(content, str):
            return next(left)[0]
        if not isinstance(content, list):
            return content
        return [part(p) if isinstance(p, dict) else p for p in content]

    def part(given: dict[str, Any]) -> dict[str, Any]:
        if given.get("type") == "tool_result":
            return {**given, **({"content": put(given["content"])} if "content" in given else {})}
        return {**given, "text": next(left)[0]} if isinstance(given.get("text"), str) else given

    return {**message, "content": put(message["content"])} if "content" in message else message
