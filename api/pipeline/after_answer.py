"""Work after an answer: the results of audited and control conversations.

Their answers are the unchanged messages and are sent immediately, so the work delays no request. It
is done in the order of a session's requests, because each result depends on the earlier ones. Its
deadline is counted from the start of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.errors import FarmError

_log = structlog.get_logger(__name__)
_STOP_SECONDS = 5.0
"""Seconds that work in progress may take when the process ends."""
MOST_BYTES = 64 * 1024 * 1024
"""Maximum size of bodies that wait for this work. Above it the work is skipped: these bodies count
towards ``HEADROOM_BODIES_BYTES``, and no request may be rejected because of an audit."""
MOST_REQUESTS = 1000

_R = TypeVar("_R")


class WorkBehind:
    """This process's work after answers; a session's work is done in order."""

    def __init__(self) -> None:
        self._last: dict[bytes, asyncio.Task[object]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._bytes = 0

    async def start(self) -> None:
        """Do nothing: work starts with the first answer."""

    async def stop(self) -> None:
        """Wait a short time for work in progress; other results are lost."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_STOP_SECONDS)
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(
        self, session: bytes, size: int, work: Callable[[], Awaitable[_R]]
    ) -> asyncio.Task[_R | None] | None:
        """Start ``work`` after the session's earlier work; its result is None if it failed.

        ``size`` is the number of bytes it holds. Returns None, without starting the work, if too
        much is waiting.
        """
        if self._bytes + size > MOST_BYTES or len(self._tasks) >= MOST_REQUESTS:
            return None
        before = self._last.get(session)
        task = asyncio.create_task(_after(before, work), name="behind")
        self._bytes += size
        self._tasks.add(task)
        self._last[session] = task

        def done(_: object) -> None:
            self._bytes -= size
            self._tasks.discard(task)
            if self._last.get(session) is task:
                del self._last[session]

        task.add_done_callback(done)
        return task

    @property
    def waiting(self) -> int:
        """Number of answers whose work is not done."""
        return len(self._tasks)


async def _after(
    before: asyncio.Task[object] | None, work: Callable[[], Awaitable[_R]]
) -> _R | None:
    if before is not None:
        await asyncio.wait([before])
    try:
        return await work()
    except FarmError as error:
        _log.warning("work_behind_failed", error=type(error).__name__)
    except Exception as error:  # a defect of the farm: the request was answered before
        _log.error("work_behind_failed", error=type(error).__name__)
    return None
