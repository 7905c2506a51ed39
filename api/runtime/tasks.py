"""Background tasks of a front-end process: supervised, restarted, counted, ended.

A task that raises, is cancelled by something else than its owner, or returns has failed: it is
logged, counted in :data:`health`, and run again with back-off. Where an essential task fails
:data:`~shared.supervision.MOST_FAILURES` times in a row, the process has given up: ``/livez``
says 503 and ``api/server/drain.py`` drains it, so that a new process takes its place.
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
    """How the tasks of this process do. ``given_up`` is the essential task that failed for good."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.given_up: str | None = None


health = TaskHealth()
"""Of this process: it has one event loop, and ends as one."""


def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    essential: bool = False,
    of: TaskHealth = health,
) -> asyncio.Task[None]:
    """Start ``run``, which does not return, as a task that is run again whenever it fails.

    ``essential`` says that a process without it serves nobody well. ``run`` may fail between
    any two of its awaits: what it keeps outside itself must be fit to begin again with.
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
            # Not by `end`: a future it awaited was cancelled, and asyncio would end it unseen.
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
    """Do something again and again, first after ``seconds``."""
    while True:
        await asyncio.sleep(seconds)
        await do()


async def end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel ``tasks`` until they are done; None among them is passed over.

    Once is not enough: redis-py (8.1) loses a cancellation that comes while a pipeline reads
    its answers, and the task goes on.
    """
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN_SECONDS)
