"""The worker pools as this front end sees them: who lives, and what runs free text."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import msgspec

from shared import keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import EngineStatus, unpack_status
from shared.settings import POOLS, Settings

from ..background import end, every
from .guarded import Guarded


class Pools:
    """Looks at the workers' heartbeats once in a while."""

    def __init__(self, settings: Settings, queues: Guarded) -> None:
        self._settings = settings
        self._queues = queues
        self._task: asyncio.Task[None] | None = None
        self.alive: dict[str, int] = dict.fromkeys(POOLS, 0)
        self.text_engines: Counter[EngineStatus] = Counter()

    async def start(self) -> None:
        """Look once, and then again and again."""
        await self._look()
        seconds = self._settings.worker_heartbeat_seconds
        self._task = asyncio.create_task(every(seconds, self._look), name="pools")

    async def stop(self) -> None:
        """Stop looking."""
        await end([self._task])

    async def _look(self) -> None:
        oldest = time.time() - keys.WORKER_TTL_SECONDS
        redis = self._queues.client
        deadline = Deadline.after(2 * self._settings.redis_timeout)
        try:
            pipe = redis.pipeline(transaction=False)
            for pool in POOLS:
                pipe.zrangebyscore(keys.workers(pool), oldest, "+inf")
            names = dict(zip(POOLS, await self._queues.ask(pipe.execute(), deadline), strict=True))
            engines = [keys.engine("gpu", name.decode()) for name in names["gpu"]]
            packed = await self._queues.ask(redis.mget(engines), deadline) if engines else []
        except Degraded:
            return
        self.alive = {pool: len(found) for pool, found in names.items()}
        self.text_engines = Counter(s for s in map(_read_status, packed) if s is not None)


def _read_status(packed: Any) -> EngineStatus | None:
    try:
        return unpack_status(packed) if packed else None
    except (msgspec.DecodeError, ValueError):
        return None
