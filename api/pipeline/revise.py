"""When an earlier decision may change: on a cold prompt cache, or where the change pays.

What was sent stays as it was sent, or the provider bills all that stands behind the change as
new. The one thing that may change is a text that a fault (a deadline, an overload) kept from
its form.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from .context import RequestContext

READ, WRITE = 0.1, 1.25
"""What a token costs that is read from the provider's cache, and one that is written to it, in
input tokens. Anthropic's; where writing costs less, a change pays sooner than is said here."""
COLD_MARGIN = 1.2
"""A provider's cache counts as cold after its lifetime times this: its clock is not ours."""
FEWEST_TURNS = 5
"""Turns that a conversation is expected to go on for, at least. An older one is expected to go on
for as long again as it has: nothing better is known of it."""
UNMARKED_TTL_SECONDS = 3600.0
"""OpenAI keeps a prefix for 5 to 10 minutes without use, and for an hour at most."""


class Revision(NamedTuple):
    """The first message that is to be decided anew, and why."""

    first: int
    reason: Literal["cold", "pays"]


def ttl_seconds(marks: list[bytes]) -> float:
    """Return how long the provider keeps the prefix after its last use, by a request's marks."""
    found = b"".join(marks)
    if not found:
        return UNMARKED_TTL_SECONDS
    return 3600.0 if b'"1h"' in found else 300.0


def is_cold(turn: RequestContext) -> bool:
    """Say whether the provider has forgotten the conversation since its last request."""
    idle = time.monotonic() - turn.conversation.used
    return idle > COLD_MARGIN * ttl_seconds(turn.marks)


def pays(before: float, after: float, behind: float, turns: int) -> bool:
    """Say whether writing a text of ``before`` tokens anew as ``after`` costs less in the end.

    Now the text and the ``behind`` tokens after it are written instead of read; in each of
    the ``turns`` expected afterwards, the tokens saved are not read.
    """
    now = WRITE * (after + behind) - READ * (before + behind)
    return now < READ * (before - after) * turns


def unfinished(turn: RequestContext) -> list[int]:
    """Return the messages sent before whose texts a fault kept from their forms."""
    sent = turn.conversation.sent[: turn.known]
    return [index for index, item in enumerate(sent) if item.left]


def revision(turn: RequestContext, waiting: list[int], forms: dict[int, int]) -> Revision | None:
    """Return what of the unfinished messages, ``waiting`` (not empty), to decide anew, if any.

    ``forms`` are the characters that their finished forms take, by message.
    """
    if is_cold(turn):
        return Revision(waiting[0], "cold")
    name = turn.counter.id
    tokens = [message.tokens[name] for message in turn.messages]
    turns = max(FEWEST_TURNS, turn.known // 2)
    for index in waiting:
        if index not in forms:
            continue
        before = tokens[index]
        after = before * forms[index] / max(1, turn.messages[index].size)
        if pays(before, after, sum(tokens[index + 1 : turn.known]), turns):
            return Revision(index, "pays")
    return None
