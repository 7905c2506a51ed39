"""One deadline, carried from the request to the last job it enqueues."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time by which an answer must be sent, on this process's ``time.monotonic()``.

    Other processes get the seconds that remain.
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
