"""Whether a worker's loop still turns: its second thread would go on beating without it."""

from __future__ import annotations

import time

_COMMANDS = 10
"""Redis commands that may each take their whole time between two beats."""


class Watchdog:
    """The loop beats, and says how long it may now be silent; the heartbeat's thread looks.

    ``redis_seconds`` is the most that one command may take, connecting included. Beyond what
    was asked for the loop may be silent for ten of them: it waits for nothing else.
    """

    def __init__(self, redis_seconds: float) -> None:
        self._margin = _COMMANDS * redis_seconds
        self._until = 0.0
        self.beat()

    def beat(self, seconds: float = 0.0) -> None:
        """The loop turns, and what it does next may take so long."""
        self._until = time.monotonic() + seconds + self._margin

    @property
    def stopped(self) -> bool:
        """Whether the loop was silent for longer than it said."""
        return time.monotonic() > self._until
