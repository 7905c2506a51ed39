"""Detects that a worker's loop hangs, because the heartbeat thread would not notice by itself."""

from __future__ import annotations

import time

_COMMANDS = 10
"""Redis commands between two beats, each of which may take its full timeout."""


class Watchdog:
    """The loop beats and says how long its next step may take; the heartbeat thread checks it.

    ``redis_seconds`` is the most that one command may take, including connecting. The loop may be
    silent for ten commands beyond the time it asked for: it waits for nothing else.
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
        """Whether the loop was silent for longer than it asked for."""
        return time.monotonic() > self._until
