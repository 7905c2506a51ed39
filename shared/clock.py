"""The one wall clock of the farm: its queues' Redis.

The clocks of two machines can differ by seconds or more. So a time that one process writes and
another compares is read from this Redis; within one process ``time.monotonic()`` is used.
"""

from __future__ import annotations

import time

_FRESH_SECONDS = 10.0
"""Seconds for which a reading is extended by this process's clock before Redis is asked again."""


def seconds(answer: tuple[int, int]) -> float:
    """Return Redis's answer to ``TIME`` as epoch seconds."""
    return answer[0] + answer[1] / 1e6


class RedisClock:
    """The last time read from Redis, extended by ``time.monotonic()``."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._read_at = 0.0

    def note(self, answer: tuple[int, int]) -> float:
        """Store Redis's answer to ``TIME``; return it as epoch seconds."""
        now = seconds(answer)
        self._read_at = time.monotonic()
        self._ahead = now - self._read_at
        return now

    @property
    def last(self) -> float | None:
        """Epoch seconds by the last reading, however old; None before the first one."""
        return None if self._ahead is None else time.monotonic() + self._ahead

    @property
    def fresh(self) -> float | None:
        """Epoch seconds by a recent reading; None if Redis must be asked."""
        return self.last if time.monotonic() - self._read_at < _FRESH_SECONDS else None
