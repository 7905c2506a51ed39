"""How long an engine may take: its block ends where that is possible, its worker where not."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rq.timeouts import UnixSignalDeathPenalty

from .watchdog import Watchdog

_GRACE_SECONDS = 2.0
"""What a call gets beyond its timeout before its process is ended."""
T = TypeVar("T")


class EngineTimeout(TimeoutError):
    """An engine took longer than its timeout."""


class Limit:
    """Runs engines under a timeout, in the main thread.

    A signal ends Python code. Native code that never comes back to Python is beyond it, and
    may hold the interpreter's lock, so a thread without Python ends the process then: the
    job's lease lapses and somebody else starts it again. ``pulse``
    is told how long each call may take.
    """

    def __init__(self, seconds: int, pulse: Watchdog | None = None) -> None:
        self._seconds = seconds
        self._pulse = pulse or Watchdog(0.0)

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns.

        Raises:
            EngineTimeout: it took too long.
        """
        with self.watched(1), UnixSignalDeathPenalty(self._seconds, EngineTimeout):
            return call()

    @contextmanager
    def watched(self, calls: int) -> Iterator[None]:
        """End the process where what is within takes longer than ``calls`` calls may."""
        most = calls * self._seconds + _GRACE_SECONDS
        self._pulse.beat(most)
        faulthandler.dump_traceback_later(most, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._pulse.beat()
