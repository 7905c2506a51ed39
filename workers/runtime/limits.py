"""Time limits for engines: a call that takes too long is aborted, or else its process."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rq.timeouts import UnixSignalDeathPenalty

from .watchdog import Watchdog

_GRACE_SECONDS = 2.0
"""Seconds after a call's timeout at which its process is ended."""
T = TypeVar("T")


class EngineTimeout(TimeoutError):
    """An engine took longer than its timeout."""


class _Aborted(BaseException):
    """Raised in the engine. It is no ``Exception``: headroom catches these, and would go on."""


class Limit:
    """Runs engines under a timeout, in the main thread.

    A signal aborts Python code. Native code that does not return to Python cannot be aborted that
    way, and may hold the interpreter's lock. Then a thread that does not need the lock ends the
    process, the job's lease expires, and another worker starts the job again. ``watchdog`` is told
    each call's time limit.
    """

    def __init__(self, seconds: int, watchdog: Watchdog | None = None) -> None:
        self._seconds = seconds
        self._watchdog = watchdog or Watchdog(0.0)

    def __call__(self, call: Callable[[], T]) -> T:
        """Return the result of ``call``.

        Raises:
            EngineTimeout: It took too long.
        """
        try:
            with self.watched(1), UnixSignalDeathPenalty(self._seconds, _Aborted):
                return call()
        except _Aborted:
            raise EngineTimeout(f"no result after {self._seconds} s") from None

    @contextmanager
    def watched(self, calls: int) -> Iterator[None]:
        """End the process if the context takes longer than ``calls`` calls are allowed to."""
        most = calls * self._seconds + _GRACE_SECONDS
        self._watchdog.beat(most)
        faulthandler.dump_traceback_later(most, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._watchdog.beat()
