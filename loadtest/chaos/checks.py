"""Finds what is wrong with the clients' answers: nothing, if the promises hold."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from .load import Exchange

_REASONS: Final = {
    "deadline", "overload", "no_workers", "redis", "engine", "quarantine", "large",
}  # fmt: skip
"""Why a text may stay as it was; `internal` would be a defect of the farm's own."""
_TOOLS: Final = {"tool", "function"}

Place = tuple[int, int, int]
"""Where a text stands: message, content block, part of a tool result (-1: there is none)."""


def faults_of(exchange: Exchange) -> list[str]:
    """Return what is wrong with one answer."""
    if exchange.status != 200:
        return [f"status {exchange.status}" if exchange.status else "no answer"]
    try:
        answer = json.loads(exchange.body)
        messages = answer["messages"]
        before, after, saved = (answer[f"tokens_{n}"] for n in ("before", "after", "saved"))
        degraded = answer["degraded"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"unreadable: {error!r}"]
    sent = exchange.turn.messages
    found = []
    if len(messages) != len(sent):
        return [f"{len(sent)} messages sent, {len(messages)} came back"]
    if [skeleton(m) for m in messages] != [skeleton(m) for m in sent]:
        found.append("something else than tool output changed")
    old, new = texts(sent), texts(messages)
    changed = [place for place in old if new.get(place) != old[place]]
    if any(not new.get(place) for place in changed):
        found.append("a text is empty")
    if saved != max(0, before - after) or saved < 0:
        found.append(f"tokens {before} - {after} are not {saved}")
    if changed and not saved:
        found.append("changed and nothing saved")
    if not set(degraded) <= _REASONS:
        found.append(f"degraded {degraded}")
    return found


def skeleton(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message without its tool output: what must come back as it went."""
    bare = copy.deepcopy(message)
    if bare.get("role") in _TOOLS:
        bare["content"] = None
    elif isinstance(bare.get("content"), list):
        for block in bare["content"]:
            if block.get("type") == "tool_result":
                block["content"] = None
    return bare


def texts(messages: list[dict[str, Any]]) -> dict[Place, str]:
    """Return the tool outputs of a conversation by where they stand."""
    return dict(_texts(messages))


def _texts(messages: list[dict[str, Any]]) -> Iterator[tuple[Place, str]]:
    for at, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") in _TOOLS and isinstance(content, str):
            yield (at, 0, -1), content
        for index, block in enumerate(content if isinstance(content, list) else ()):
            inner = block.get("content") if block.get("type") == "tool_result" else None
            if isinstance(inner, str):
                yield (at, index, -1), inner
            for part, one in enumerate(inner if isinstance(inner, list) else ()):
                yield (at, index, part), one.get("text", "")


def strange_forms(exchanges: Iterable[Exchange], rest: dict[str, list[Any]]) -> list[str]:
    """Return the first turns whose texts are neither the original nor the form made at rest.

    `rest` has, for each session, the messages of its first turn as a farm at rest answers them.
    """
    found = []
    for one in exchanges:
        if one.status != 200 or one.turn.number != 1 or one.turn.play not in rest:
            continue
        allowed, sent = texts(rest[one.turn.play]), texts(one.turn.messages)
        for place, text in texts(json.loads(one.body)["messages"]).items():
            if text not in (sent[place], allowed[place]):
                found.append(f"{one.turn.play}: a form that no engine makes of this text")
    return found


def changes(exchanges: Iterable[Exchange]) -> int:
    """Count the texts whose form changed more than from verbatim to one compressed form."""
    forms: dict[tuple[str, str, Place], str] = {}
    count = 0
    for one in exchanges:
        if one.status != 200:
            continue
        sent = texts(one.turn.messages)
        for place, text in texts(json.loads(one.body)["messages"]).items():
            key = (one.user, one.turn.play, place)
            before = forms.get(key, sent[place])
            count += before not in (text, sent[place])
            forms[key] = text
    return count


def hashes(exchanges: Iterable[Exchange]) -> dict[str, set[str]]:
    """Return, by user, the hashes in their last answer, which they can retrieve."""
    last = {one.user: one.body for one in exchanges if one.status == 200}
    return {user: set(json.loads(body)["ccr_hashes"]) for user, body in last.items()}


def degraded(exchanges: Iterable[Exchange]) -> Counter[str]:
    """Count the answers by why some of their text stayed as it was."""
    return Counter(
        reason
        for one in exchanges
        if one.status == 200
        for reason in json.loads(one.body)["degraded"]
    )


def totals(exchanges: Iterable[Exchange]) -> tuple[int, int]:
    """Return how many answers there were and the tokens they say they saved."""
    answered = [json.loads(one.body) for one in exchanges if one.status == 200]
    return len(answered), sum(answer["tokens_saved"] for answer in answered)
