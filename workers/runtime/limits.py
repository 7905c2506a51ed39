"""Time limits of engines: a slow engine's block is ended, or else its worker process."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rq.timeouts import UnixSignalDeathPenalty

from .watchdog import Watchdog

_GRACE_SECONDS = 2.0
"""Seconds beyond a call's timeout after which its process is ended."""
T = TypeVar("T")


class EngineTimeout(TimeoutError):
    """An engine took longer than its timeout."""


class Limit:
    """Runs engines under a timeout, in the main thread.

    A signal ends Python code. Native code that does not return to Python cannot be ended so, and
    may hold the interpreter's lock; then a thread that needs no Python ends the process, the job's
    lease expires, and another worker starts the job again. ``pulse`` gets each call's time limit.
    """

    def __init__(self, seconds: int, pulse: Watchdog | None = None) -> None:
        self._seconds = seconds
        self._pulse = pulse or Watchdog(0.0)

    def __call__(self, call: Callable[[], T]) -> T:
        """Return the result of ``call``.

        Raises:
            EngineTimeout: it took too long.
        """
        with self.watched(1), UnixSignalDeathPenalty(self._seconds, EngineTimeout):
            return call()

    @contextmanager
    def watched(self, calls: int) -> Iterator[None]:
        """End the process if the context takes longer than ``calls`` calls may take."""
        most = calls * self._seconds + _GRACE_SECONDS
        self._pulse.beat(most)
        faulthandler.dump_traceback_later(most, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._pulse.beat()
