"""When an earlier decision may change: if the prompt cache is cold, or if the change saves money.

Sent messages stay as they were sent, because the provider bills everything after a change as
new. Only a text that was sent without its form because of a fault (a deadline, an overload) may
change.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple

from shared.prompt_cache_rules import TTL_SECONDS, CacheRules, rules_of

from .request_context import RequestContext

COLD_MARGIN = 1.2
"""Factor on the provider's cache lifetime after which the cache counts as cold; the margin covers
clock differences."""
FEWEST_TURNS = 5
"""Minimum number of further turns expected of a conversation. A longer one is expected to have as
many further turns as it has had, for lack of a better estimate."""
UNMARKED_TTL_SECONDS = 3600.0
"""OpenAI keeps a prefix for 5 to 10 minutes without use, and for an hour at most."""


class Revision(NamedTuple):
    """The first message to be decided again, and why."""

    first: int
    reason: Literal["cold", "pays"]


def ttl_seconds(marks: list[bytes]) -> float:
    """Return how many seconds the provider keeps the prefix after its last use, by the marks."""
    found = b"".join(marks)
    if not found:
        return UNMARKED_TTL_SECONDS
    return TTL_SECONDS["1h" if b'"1h"' in found else "5m"]


def is_cold(turn: RequestContext) -> bool:
    """Return whether the provider's cache no longer has the conversation's last request."""
    idle = time.monotonic() - turn.conversation.used
    return idle > COLD_MARGIN * ttl_seconds(turn.marks)


def pays(before: float, after: float, behind: float, turns: int, rules: CacheRules) -> bool:
    """Return whether replacing a text of ``before`` tokens by one of ``after`` saves money.

    In this turn the text and the ``behind`` tokens after it are written to the cache instead of
    read; in each of the ``turns`` expected afterwards, the saved tokens are not read. ``rules``
    have the prices.
    """
    now = rules.write * (after + behind) - rules.read * (before + behind)
    return now < rules.read * (before - after) * turns


def unfinished(turn: RequestContext) -> list[int]:
    """Return the sent messages with texts that lack their form because of a fault."""
    sent = turn.conversation.sent[: turn.known]
    return [index for index, item in enumerate(sent) if item.left]


def revision(turn: RequestContext, waiting: list[int], forms: dict[int, int]) -> Revision | None:
    """Return the first of the unfinished messages ``waiting`` (not empty) to decide again, or None.

    ``forms`` are the lengths of their finished forms in characters, by message.
    """
    if is_cold(turn):
        return Revision(waiting[0], "cold")
    name, rules = turn.counter.id, rules_of(turn.options.model)
    tokens = [message.tokens[name] for message in turn.messages]
    turns = max(FEWEST_TURNS, turn.known // 2)
    for index in waiting:
        if index not in forms:
            continue
        before = tokens[index]
        after = before * forms[index] / max(1, turn.messages[index].size)
        if pays(before, after, sum(tokens[index + 1 : turn.known]), turns, rules):
            return Revision(index, "pays")
    return None
