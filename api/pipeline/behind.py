"""Work that goes on behind an answer: what audited and control conversations come to.

Their answers are the messages as they came and are given at once, so the work costs nobody time.
It is done in the order of a session's requests, for what the farm would have sent depends on what
it would have sent before. Its deadline begins with the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shared.errors import FarmError

_log = structlog.get_logger(__name__)
_STOP_SECONDS = 1.0
"""How long work that was begun may still take when the process ends."""
MOST_BYTES = 64 * 1024 * 1024
"""Bodies that may wait for this work. Beyond it an answer's work is not done: bodies take their
share of ``HEADROOM_BODIES_BYTES``, and nobody may be refused for an audit."""
MOST_REQUESTS = 1000

_R = TypeVar("_R")


class WorkBehind:
    """This process's work behind answers, in order by session."""

    def __init__(self) -> None:
        self._last: dict[bytes, asyncio.Task[object]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._bytes = 0

    async def start(self) -> None:
        """Nothing: work begins with the first answer."""

    async def stop(self) -> None:
        """Let what is begun end soon; what it comes to is lost otherwise."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_STOP_SECONDS)
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(
        self, session: bytes, size: int, work: Callable[[], Awaitable[_R]]
    ) -> asyncio.Task[_R | None] | None:
        """Begin ``work`` after the session's earlier; its result is None where it failed.

        ``size`` are the bytes it holds. Returns None, and does nothing, where too much waits.
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
        """Answers whose work is not done."""
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
    except Exception as error:  # a defect of ours: its request was answered long ago
        _log.error("work_behind_failed", error=type(error).__name__)
    return None
