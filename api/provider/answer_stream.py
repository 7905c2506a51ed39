"""A client's answer stream, made from one or more of the provider's streams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from shared.errors import UNREADABLE_JSON

from .provider_interface import Turn

StreamState = Literal["open", "follow_up", "over"]


class AnswerStream(ABC):
    """Forwards a provider's events except those of retrieval calls.

    Events that need no change are forwarded as the same bytes. Later rounds continue the same
    answer: indexes are renumbered, only the first start is sent, and usage is summed.
    ``state`` is ``follow_up`` when a round has ended and the farm must send the next request,
    ``over`` when the client's answer is complete. ``turns`` are the rounds that have ended.
    """

    def __init__(self) -> None:
        self.state: StreamState = "open"
        self.turns: list[Turn] = []
        self._places: dict[int, int | None] = {}
        self._last = False
        self._begin()

    def next_round(self, *, last: bool) -> None:
        """Continue with the provider's answer to the follow-up request.

        ``last``: retrieval calls in this answer are not served.
        """
        self.state = "open"
        self._last = last
        self._begin()

    @property
    def hides(self) -> bool:
        """Whether anything so far was hidden from the client, so that later events change too."""
        return bool(self.turns) or None in self._places.values()

    def end(self) -> bytes:
        """Handle the end of the provider's stream; without a last event the answer is cut off.

        Returns what was held back.
        """
        return b""

    @abstractmethod
    def feed(self, event: bytes) -> bytes:
        """Return the bytes to send to the client for an event of the provider; may be empty."""

    @abstractmethod
    def _begin(self) -> None:
        """Reset the state of the previous round."""


def decoded(data: bytes) -> dict[str, Any] | None:
    """Return an event's data as an object; None if it is not a JSON object."""
    try:
        found = msgspec.json.decode(data)
    except UNREADABLE_JSON:
        return None
    return found if isinstance(found, dict) else None


class Pieces:
    """A string of an event that is continued by later ones; :func:`encode` joins it."""

    __slots__ = ("parts",)

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)


def _joined(value: object) -> str:
    if isinstance(value, Pieces):
        return "".join(value.parts)
    raise NotImplementedError  # as msgspec wants it


encode = msgspec.json.Encoder(enc_hook=_joined).encode


def grown(of: dict[str, Any], delta: dict[str, Any], leave: Sequence[str] = ()) -> None:
    """Add a delta to an object: strings are appended, other values replace the old ones.

    A string that has grown is kept as :class:`Pieces`: joining it each time would be quadratic.
    """
    for name, value in delta.items():
        if name in leave:
            continue
        before = of.get(name)
        if isinstance(value, str) and isinstance(before, Pieces):
            before.parts.append(value)
        elif isinstance(value, str) and isinstance(before, str):
            of[name] = Pieces(before, value)
        elif value is not None or name not in of:
            of[name] = value


def whole_number(value: object) -> int:
    """Return an index from an event; 0 if it is not a non-negative whole number."""
    return value if isinstance(value, int) and value >= 0 else 0
