"""The worker pools as this front end sees them: live workers, their speed, their text engines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from shared import clock, keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import EngineStatus, unpack_status
from shared.settings import POOLS, Settings

from .background_tasks import end, every, supervise
from .redis_guard import RedisGuard


class WorkerView:
    """Reads the workers' heartbeats, once per heartbeat interval."""

    def __init__(self, settings: Settings, queues: RedisGuard) -> None:
        self._settings = settings
        self._queues = queues
        self._task: asyncio.Task[None] | None = None
        self.alive: dict[str, int] = dict.fromkeys(POOLS, 0)
        self.text_engines: Counter[EngineStatus] = Counter()
        self._paces: dict[str, float] = {}

    async def start(self) -> None:
        """Read the heartbeats, then keep reading them."""
        await self._look()
        seconds = self._settings.worker_heartbeat_seconds
        self._task = supervise("pools", lambda: every(seconds, self._look), essential=True)

    async def stop(self) -> None:
        """Stop reading."""
        await end([self._task])

    def bytes_in(self, pool: str, seconds: float) -> int:
        """Return how many bytes of jobs the pool processes in ``seconds``; -1 if not known yet."""
        pace = self._paces.get(pool)
        return -1 if pace is None else round(pace * seconds)

    async def _look(self) -> None:
        redis = self._queues.client
        deadline = Deadline.after(2 * self._settings.redis_timeout)
        try:
            pipe = redis.pipeline(transaction=False)
            pipe.time()
            for pool in POOLS:
                pipe.zrangebyscore(keys.workers(pool), "-inf", "+inf", withscores=True)
            now, *beats = await self._queues.ask(pipe.execute(), deadline)
            oldest = clock.seconds(now) - keys.WORKER_TTL_SECONDS
            names = {
                pool: [name for name, at in found if at >= oldest]
                for pool, found in zip(POOLS, beats, strict=True)
            }
            alive = [(pool, name.decode()) for pool in POOLS for name in names[pool]]
            asked = [keys.engine(*worker) for worker in alive] + [keys.pace(*w) for w in alive]
            said = await self._queues.ask(redis.mget(asked), deadline) if asked else []
        except Degraded:
            return
        self.alive = {pool: len(found) for pool, found in names.items()}
        statuses, paces = said[: len(alive)], said[len(alive) :]
        self.text_engines = Counter(s for s in map(_read_status, statuses) if s is not None)
        self._paces = dict(_paces(alive, paces))


def _read_status(packed: Any) -> EngineStatus | None:
    try:
        return unpack_status(packed) if packed else None
    except (msgspec.DecodeError, ValueError):
        return None


def _paces(
    workers: Sequence[tuple[str, str]], found: Sequence[bytes | None]
) -> Iterator[tuple[str, float]]:
    """Yield each pool and the sum of its workers' paces; a new worker counts as the average."""
    for pool in POOLS:
        its = [pace for (of, _), pace in zip(workers, found, strict=True) if of == pool]
        known = [float(pace) for pace in its if pace is not None]
        if known:
            yield pool, sum(known) / len(known) * len(its)
