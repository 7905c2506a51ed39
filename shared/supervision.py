"""When a failed background task is restarted, and when its process must give up.

Used by the front end's asyncio tasks (``api/runtime/background_tasks.py``) and by the worker's
heartbeat thread (``workers/runtime/heartbeat.py``).
"""

from __future__ import annotations

import time
from pathlib import Path

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
STABLE_SECONDS = 60.0
"""A task that ran this long before it failed is restarted after the first pause again."""
MOST_FAILURES = 10
"""Failures in a row, about 35 s of pauses, after which an essential task's process gives up."""


class Restarts:
    """The failures of one task."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self._started = time.monotonic()

    def started(self) -> None:
        """Record that the task has started."""
        self._started = time.monotonic()

    def failed(self) -> float:
        """Record a failure; return the seconds to wait before restarting the task."""
        if time.monotonic() - self._started >= STABLE_SECONDS:
            self.in_a_row = 0
        self.in_a_row += 1
        return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (self.in_a_row - 1))

    @property
    def exhausted(self) -> bool:
        """Whether another restart is unlikely to help."""
        return self.in_a_row >= MOST_FAILURES


def place_of(error: BaseException) -> str:
    """Return where ``error`` was raised, as ``file.py:line``.

    Used in logs instead of its message, which may quote users' data.
    """
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
