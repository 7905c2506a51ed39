"""A client's answer made of one or more of the provider's streams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from shared.errors import UNREADABLE_JSON

from .protocol import Turn

StreamState = Literal["open", "follow_up", "over"]


class AnswerStream(ABC):
    """Lets a provider's events pass, but for those of retrieval calls.

    An event that needs no change leaves as the bytes it came in. In later rounds the events go on
    in the same answer: indexes are renumbered, there is one start, and usage is summed.
    ``state`` is ``follow_up`` when the round is over and the farm has to go on, ``over`` when the
    client's answer is complete; ``turns`` are the rounds that are over.
    """

    def __init__(self) -> None:
        self.state: StreamState = "open"
        self.turns: list[Turn] = []
        self._last = False
        self._begin()

    def next_round(self, *, last: bool) -> None:
        """Go on with the provider's answer to the follow-up request.

        ``last``: retrieval calls in it are not served any more.
        """
        self.state = "open"
        self._last = last
        self._begin()

    def end(self) -> None:  # noqa: B027 - most APIs' streams end by an event
        """Note that the provider's stream has ended: without its last event it was cut off."""

    @abstractmethod
    def feed(self, event: bytes) -> bytes:
        """Return what the client gets for an event of the provider, maybe nothing."""

    @abstractmethod
    def _begin(self) -> None:
        """Forget what was read of the round before."""


def decoded(data: bytes) -> dict[str, Any] | None:
    """Return an event's data as an object, None where it is none."""
    try:
        found = msgspec.json.decode(data)
    except UNREADABLE_JSON:
        return None
    return found if isinstance(found, dict) else None


def grown(of: dict[str, Any], delta: dict[str, Any], leave: Sequence[str] = ()) -> None:
    """Add a delta to an object: texts are appended, other values replace what was there."""
    for name, value in delta.items():
        if name in leave:
            continue
        before = of.get(name)
        if isinstance(value, str) and isinstance(before, str):
            of[name] = before + value
        elif value is not None or name not in of:
            of[name] = value


def whole_number(value: object) -> int:
    """Return an index of an event; anything else than a number from 0 counts as 0."""
    return value if isinstance(value, int) and value >= 0 else 0
