"""Front ends without HTTP and a worker without engines, for tests of the protocol between them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from api.pipeline.dispatch_jobs import Dispatcher, Fetched, Order, Origin
from api.runtime.redis_guard import RedisGuard
from api.runtime.result_inbox import ResultInbox
from api.runtime.worker_view import WorkerView
from shared.deadline import Deadline
from shared.jobs import Block, Form, Job, Options
from shared.redis_connection import connect, connect_async, connect_state, connect_state_async
from shared.settings import Settings
from workers.batcher import BatchCount
from workers.compress_block import Done
from workers.runtime.delivery import Delivery
from workers.runtime.queue import PoolQueue

from . import farm

Make = Callable[[list[str]], Awaitable[list[Block]]]
SECONDS = 60.0
"""Deadline of requests that are expected to end earlier."""


class FrontEnd:
    """One front end's dispatcher; it assumes a worker in each pool, whether there is one or not.

    ``made`` holds, call by call, the keys for which its requests had to make blocks.
    """

    def __init__(self, settings: Settings) -> None:
        queues = RedisGuard(connect_async(settings), settings)
        state = queues
        if settings.state_url is not None:
            state = RedisGuard(connect_state_async(settings), settings, "state")
        pools = WorkerView(settings, queues)
        pools.alive = {"cpu": 1, "gpu": 1}
        self.inbox = ResultInbox(settings, state)
        self.dispatcher = Dispatcher(settings, state, queues, pools, self.inbox)
        self.made: list[list[str]] = []
        self._guards = {queues, state}

    async def fetch(
        self, user: str, *names: str, make: Make | None = None, seconds: float = SECONDS
    ) -> Fetched:
        """Fetch blocks of the ``cpu`` pool for a user, who is given by their tag."""
        order = Order(user, Options(), "", Origin("r"))

        async def noted(wanted: list[str]) -> list[Block]:
            self.made.append(wanted)
            return await (make or blocks)(wanted)

        wanted = dict.fromkeys(names, "cpu")
        return await self.dispatcher.fetch(order, wanted, noted, Deadline.after(seconds))

    async def close(self) -> None:
        """Close its connections."""
        for guard in self._guards:
            await guard.stop()


async def blocks(names: list[str]) -> list[Block]:
    """Make a block of each key."""
    return [Block(name, f"text of {name}", "text", "user") for name in names]


@asynccontextmanager
async def front_end(settings: Settings, *, alive: bool = True) -> AsyncIterator[FrontEnd]:
    """Run a front end; one that is not ``alive`` can send requests, but has no background tasks."""
    front = FrontEnd(settings)
    parts = [front.inbox, front.dispatcher] if alive else []
    for part in parts:
        await part.start()
    try:
        yield front
    finally:
        for part in reversed(parts):
            await part.stop()
        await front.close()


class Bench:
    """Acts as a worker: takes the next job of the ``cpu`` pool and delivers given results."""

    def __init__(self, settings: Settings) -> None:
        self.redis = connect(settings)
        self.state = connect_state(settings) if settings.state_url else self.redis
        self._queue = PoolQueue(self.redis, "cpu", settings)
        self.delivery = Delivery(self.state, self.redis, self._queue, settings)

    async def work(self, text: str = "done") -> list[str]:
        """Wait for one job, do it, and return its blocks' keys."""
        for _ in range(round(SECONDS)):
            job_id = await asyncio.to_thread(self._queue.pop, 1)
            if job_id is not None:
                break
        else:
            raise AssertionError("no job came")
        begun = self._queue.begin(job_id)
        assert isinstance(begun.job, Job)
        for block in begun.job.blocks:
            done = Done(block, Form(text, outcome="compressed"), [])
            self.delivery.deliver(begun.job, done, BatchCount())
        self._queue.done(begun.id, "done")
        return [block.key for block in begun.job.blocks]


async def until(what: str, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of ``condition``, as :func:`tests.farm.until` does."""
    return await asyncio.to_thread(farm.until, what, condition, seconds)


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Run a scene to its end."""
    asyncio.run(scene)


def tag() -> str:
    """Return the tag of a new user."""
    return secrets.token_hex(12)
