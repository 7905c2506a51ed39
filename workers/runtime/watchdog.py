"""Detects that a worker's loop hangs; the heartbeat thread alone would not notice."""

from __future__ import annotations

import time

_COMMANDS = 10
"""Maximum number of Redis commands between two beats, each of which may take its full timeout."""


class Watchdog:
    """The loop beats and announces how long its next step may take; the heartbeat thread checks.

    ``redis_seconds`` is the timeout of one command, including connecting. The loop may be silent
    for the time it announced plus that of ten commands; it waits for nothing else.
    """

    def __init__(self, redis_seconds: float) -> None:
        self._margin = _COMMANDS * redis_seconds
        self._until = 0.0
        self.beat()

    def beat(self, seconds: float = 0.0) -> None:
        """Report that the loop is alive, and that its next step may take ``seconds``."""
        self._until = time.monotonic() + seconds + self._margin

    @property
    def stopped(self) -> bool:
        """Whether the loop has been silent for longer than it announced."""
        return time.monotonic() > self._until
