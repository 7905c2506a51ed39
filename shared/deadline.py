"""One deadline, carried from the request to the last job it enqueues."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time by which an answer leaves, on this process's ``time.monotonic()``.

    What travels is how much of it is left.
    """

    monotonic: float

    @classmethod
    def after(cls, seconds: float, since: float | None = None) -> Deadline:
        """Return the deadline ``seconds`` from now, or from ``since`` (``time.monotonic()``)."""
        now = time.monotonic()
        left = seconds if since is None else seconds - (now - since)
        return cls(now + left)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.monotonic - time.monotonic())
