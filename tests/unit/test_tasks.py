"""A background task ends, also one that loses its first cancellation."""

from __future__ import annotations

import asyncio

from api.runtime.tasks import end


def test_a_task_that_loses_a_cancellation_is_told_again() -> None:
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
