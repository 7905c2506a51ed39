"""Background tasks: restarted after a failure, given up, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from api.runtime.background_tasks import TaskHealth, end, supervise
from shared import supervision
from shared.supervision import MOST_FAILURES, STABLE_SECONDS, Restarts


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make failed tasks restart at once."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.0)


def test_cancels_again_when_cancellation_is_lost() -> None:
    async def deaf_once() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    async def scenario() -> None:
        tasks = [asyncio.create_task(deaf_once()), asyncio.create_task(asyncio.sleep(0)), None]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await end(tasks)
        assert all(task.done() for task in tasks if task is not None)

    asyncio.run(scenario())


async def raises() -> None:
    raise KeyError("unforeseen")


async def returns() -> None:
    pass


async def awaits_cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("failure", [raises, returns, awaits_cancelled_future])
@pytest.mark.usefixtures("no_pause")
def test_runs_again_after_any_failure(failure: Callable[[], Awaitable[None]]) -> None:
    async def scenario() -> None:
        runs, again, health = 0, asyncio.Event(), TaskHealth()

        async def run() -> None:
            nonlocal runs
            runs += 1
            if runs < 3:
                return await failure()
            again.set()
            await asyncio.Event().wait()

        task = supervise("some", run, of=health)
        async with asyncio.timeout(30):
            await again.wait()
            await end([task])
        assert (runs, health.failures["some"], health.given_up) == (3, 2, None)

    asyncio.run(scenario())


@pytest.mark.parametrize("essential", [True, False])
@pytest.mark.usefixtures("no_pause")
def test_gives_up_only_for_essential_task(essential: bool) -> None:
    async def scenario() -> None:
        runs, enough, health = 0, asyncio.Event(), TaskHealth()

        async def run() -> None:
            nonlocal runs
            runs += 1
            if runs > MOST_FAILURES:
                enough.set()
            else:
                assert health.given_up is None
            raise KeyError

        task = supervise("some", run, essential=essential, of=health)
        async with asyncio.timeout(30):
            await enough.wait()
            await end([task])
        assert health.given_up == ("some" if essential else None)

    asyncio.run(scenario())


def test_pauses_grow_and_start_over_when_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now)
    restarts = Restarts()
    pauses = []
    for _ in range(MOST_FAILURES):
        assert not restarts.exhausted
        restarts.started()
        pauses.append(restarts.failed())
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0
    assert restarts.exhausted
    restarts.started()
    now += STABLE_SECONDS
    assert restarts.failed() == 0.1
    assert not restarts.exhausted
