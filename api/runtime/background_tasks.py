"""Background tasks of a front-end process: supervised, restarted, counted, ended.

A task has failed if it raises, returns, or is cancelled by anything but its owner. A failure is
logged, counted in :data:`health`, and the task is run again with back-off. If an essential task
fails :data:`~shared.supervision.MOST_FAILURES` times in a row, the process gives up: ``/livez``
answers 503 and ``api/server/drain.py`` drains the process, so that a new one replaces it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog

from shared.supervision import Restarts, place_of

_log = structlog.get_logger(__name__)
_ASK_AGAIN_SECONDS = 0.1


class TaskHealth:
    """Failures of this process's tasks; ``given_up`` is the essential task that failed for good."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.given_up: str | None = None


health = TaskHealth()
"""One per process, because a process has one event loop and gives up as a whole."""


def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    essential: bool = False,
    of: TaskHealth = health,
) -> asyncio.Task[None]:
    """Start ``run``, which does not return, as a task that is restarted whenever it fails.

    ``essential`` means that the process cannot serve requests correctly without the task. ``run``
    may fail at any of its awaits, so any state it keeps must allow it to be started again.
    """
    of.failures.setdefault(name, 0)
    return asyncio.create_task(_run_on(name, run, essential, of), name=name)


async def _run_on(
    name: str, run: Callable[[], Awaitable[None]], essential: bool, of: TaskHealth
) -> None:
    restarts = Restarts()
    while True:
        restarts.started()
        error: BaseException | None = None
        try:
            await run()
        except asyncio.CancelledError as cancelled:
            # Only a future that the task awaited was cancelled; asyncio would not report this.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            error = cancelled
        except Exception as raised:
            error = raised
        pause = restarts.failed()
        of.failures[name] += 1
        _log.error(
            "task_failed",
            task=name,
            error=type(error).__name__ if error else "returned",
            at=place_of(error) if error else "",
            in_a_row=restarts.in_a_row,
            again_in=pause,
        )
        if essential and restarts.exhausted and of.given_up is None:
            of.given_up = name
            _log.critical("process_gives_up", task=name)
        await asyncio.sleep(pause)


async def every(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    """Call ``do`` every ``seconds``, first after ``seconds``."""
    while True:
        await asyncio.sleep(seconds)
        await do()


async def end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel ``tasks`` until they are done; None is skipped.

    Cancelling once is not enough: redis-py (8.1) loses a cancellation that arrives while a
    pipeline reads its answers, and the task continues.
    """
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN_SECONDS)
