"""The one wall clock of the farm: its queues' Redis.

Machines' clocks differ by seconds and more. What one process writes and another compares is
therefore the time of that Redis, and what one process measures alone is ``time.monotonic()``.
"""

from __future__ import annotations

import time

_FRESH_SECONDS = 10.0
"""How long a reading is carried on by this process's own clock before Redis is asked again."""


def seconds(answer: tuple[int, int]) -> float:
    """Return what Redis answers to ``TIME`` as epoch seconds."""
    return answer[0] + answer[1] / 1e6


class RedisClock:
    """The time at Redis, as it was read last, carried on by ``time.monotonic()``."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._read_at = 0.0

    def note(self, answer: tuple[int, int]) -> float:
        """Take what Redis answered to ``TIME`` just now; return it in epoch seconds."""
        now = seconds(answer)
        self._read_at = time.monotonic()
        self._ahead = now - self._read_at
        return now

    @property
    def last(self) -> float | None:
        """Epoch seconds by the last reading, however old; None where there is none."""
        return None if self._ahead is None else time.monotonic() + self._ahead

    @property
    def fresh(self) -> float | None:
        """Epoch seconds by a recent reading; None where Redis must be asked."""
        return self.last if time.monotonic() - self._read_at < _FRESH_SECONDS else None
