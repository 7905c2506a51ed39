"""Steps 3 to 5: look blocks up and claim the misses, enqueue them, wait for their forms."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared import keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import (
    Block,
    Form,
    Job,
    Options,
    Reply,
    job_data,
    pack_form,
    pack_reply,
    unpack_form,
)
from shared.scripts import script
from shared.settings import POOLS, Settings

from ..runtime.redis_guard import RedisGuard
from ..runtime.result_inbox import Awaited, ResultInbox
from ..runtime.worker_view import WorkerView

_CLAIMS_A_CALL = 256
"""Blocks asked for in one script call: others' commands wait while one runs."""
_WAITING_SHARE = 0.4
"""How much of its time a request's job may spend in the queue, or it is not enqueued."""
_PATIENCE_MS = 500
"""A job that waits no longer than this is enqueued even where its request has less time: done
late, it is there in the next turn."""
_ABSENT, _JOINED, _CLAIMED = 0, 1, 2
"""What ``claim.lua`` says of a block that is not in the cache."""
_REFUSED = pack_form(Form(None, outcome="refused"))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from: its request's id and W3C ``traceparent`` (empty: none)."""

    request_id: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What all jobs of one request have in common. ``user`` is the tag."""

    user: str
    options: Options
    context: str
    origin: Origin


@dataclass(slots=True)
class Fetched:
    """The forms had by the deadline, which of them the session cache held, why others lack.

    ``looked_up`` is when the cache had answered (``time.perf_counter()``), None where it did not.
    """

    forms: dict[str, Form] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    looked_up: float | None = None


class Dispatcher:
    """This process's way to the session caches, the queues and the pools behind them."""

    def __init__(
        self,
        settings: Settings,
        state: RedisGuard,
        queues: RedisGuard,
        pools: WorkerView,
        replies: ResultInbox,
    ) -> None:
        self._settings = settings
        self._state = state
        self._queues = queues
        self._pools = pools
        self._replies = replies
        self._claim = state.client.register_script(script("claim"))
        self._release = state.client.register_script(script("release"))
        self._push = queues.client.register_script(script("push"))
        self._letting_go: set[asyncio.Task[None]] = set()

    async def fetch(
        self,
        order: Order,
        wanted: Mapping[str, str],
        make: Callable[[list[str]], Awaitable[list[Block]]],
        deadline: Deadline,
    ) -> Fetched:
        """Return the forms of ``wanted`` blocks: cached ones, and others when they are done.

        ``wanted`` names each block's pool by the block's key; ``make`` is
        called once the cache has answered, and gives the blocks of the keys that nobody works
        on yet (perhaps none), in their order. A block that somebody already works on for this
        user is waited for, not enqueued. Late blocks go on and fill the session cache.
        """
        found = Fetched()
        with self._replies.awaited(order.user, wanted) as futures:
            try:
                await self._fill(order, wanted, make, deadline, found, futures)
            except Degraded as error:
                found.reasons.add(error.reason)
        return found

    async def _fill(
        self,
        order: Order,
        wanted: Mapping[str, str],
        make: Callable[[list[str]], Awaitable[list[Block]]],
        deadline: Deadline,
        found: Fetched,
        futures: Awaited,
    ) -> None:
        claimed: set[str] = set()
        waiting: set[str] = set()
        try:
            for key, answer in await self._look_up(order.user, list(wanted), deadline):
                if answer == _JOINED:
                    self._expect(key, wanted[key], waiting, found)
                elif answer == _CLAIMED:
                    claimed.add(key)
                elif answer == _ABSENT:
                    found.reasons.add("overload")
                else:
                    found.forms[key] = _read(answer)
                    found.cached.add(key)
            found.looked_up = time.perf_counter()
            blocks = await make([key for key in wanted if key in claimed])
            made = [(wanted[block.key], block) for block in blocks]
            for pool, blocks in self._batches(_travelling(made, found)):
                if not await self._enqueue(pool, order, blocks, deadline):
                    found.reasons.add("overload" if self._pools.alive[pool] else "no_workers")
                    continue
                for block in blocks:
                    claimed.discard(block.key)
                    self._expect(block.key, pool, waiting, found)
        finally:
            if claimed:
                self._let_go(order.user, sorted(claimed))
        await self._wait(waiting, futures, deadline, found)

    def _expect(self, key: str, pool: str, waiting: set[str], found: Fetched) -> None:
        """Wait for a block in work, unless nobody is there to work."""
        if self._pools.alive[pool]:
            waiting.add(key)
        else:
            found.reasons.add("no_workers")

    async def _wait(
        self, waiting: set[str], futures: Awaited, deadline: Deadline, found: Fetched
    ) -> None:
        if waiting:
            await asyncio.wait([futures[key] for key in waiting], timeout=deadline.remaining)
        for key in waiting:
            if futures[key].done():
                found.forms[key] = futures[key].result()
            else:
                found.reasons.add("deadline")

    # ── claiming ────────────────────────────────────────────────────────────────────

    async def _look_up(
        self, user: str, wanted: Sequence[str], deadline: Deadline
    ) -> list[tuple[str, Any]]:
        """Ask for all keys; claim no more of the absent ones than a pool could ever admit."""
        answers: list[tuple[str, Any]] = []
        room = self._settings.queue_max_blocks
        for start in range(0, len(wanted), _CLAIMS_A_CALL):
            part = wanted[start : start + _CLAIMS_A_CALL]
            lease = keys.FLIGHT_SECONDS * 1000 if room > 0 else 0
            said = await self._state.ask(
                self._claim(
                    keys=[keys.cache(user), keys.ages(user), keys.flights(user)],
                    args=[self._replies.key, lease, *part],
                ),
                deadline,
                user,
            )
            room -= sum(1 for answer in said if answer == _CLAIMED)
            answers += zip(part, said, strict=True)
        return answers

    def _let_go(self, user: str, claimed: list[str]) -> None:
        """Give claims up while the answer leaves; often its deadline is the reason."""
        task = asyncio.create_task(self._give_up(user, claimed), name="give-up")
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _give_up(self, user: str, claimed: list[str]) -> None:
        """Release claims that no job will serve, and tell who joined them meanwhile."""
        deadline = Deadline.after(self._settings.redis_timeout)
        try:
            waiters = await self._state.ask(
                self._release(keys=[keys.flights(user)], args=claimed), deadline, user
            )
            pipe = self._queues.client.pipeline(transaction=False)
            for key, lists in zip(claimed, waiters, strict=True):
                for waiter in lists[1:]:
                    pipe.rpush(waiter, pack_reply(Reply(user, key, _REFUSED)))
                    pipe.expire(waiter, keys.REPLY_TTL_SECONDS)
            if len(pipe):
                await self._queues.ask(pipe.execute(), deadline)
        except Degraded:  # they lapse by themselves
            return

    # ── enqueueing ──────────────────────────────────────────────────────────────────

    def _batches(self, made: Sequence[tuple[str, Block]]) -> Iterable[tuple[str, list[Block]]]:
        """Group blocks, each beside its pool, into few jobs within the job's bounds."""
        settings = self._settings
        for pool in POOLS:
            batch: list[Block] = []
            size = 0
            for block in [block for where, block in made if where == pool]:
                length = len(block.text)
                over = size + length > settings.job_max_bytes
                if batch and (over or len(batch) >= settings.job_max_blocks):
                    yield pool, batch
                    batch, size = [], 0
                batch.append(block)
                size += length
            if batch:
                yield pool, batch

    async def _enqueue(
        self, pool: str, order: Order, blocks: list[Block], deadline: Deadline
    ) -> bool:
        """Enqueue one job; False where the pool has no room for it."""
        settings = self._settings
        most_ms = max(_PATIENCE_MS, round(deadline.remaining * 1000 * _WAITING_SHARE))
        job_id = secrets.token_hex(12)
        data = job_data(
            Job(
                user=order.user,
                reply=self._replies.key,
                options=order.options,
                context=order.context,
                request_id=order.origin.request_id,
                expires=deadline.wall,
                blocks=blocks,
                trace=order.origin.trace,
            )
        )
        admitted = await self._queues.ask(
            self._push(
                keys=[keys.queue(pool), keys.job(job_id), keys.load(pool), keys.jobs(pool)],
                args=[
                    job_id,
                    order.user,
                    len(blocks),
                    len(data),
                    settings.queue_max_blocks,
                    settings.queue_max_bytes,
                    keys.JOB_TTL_SECONDS,
                    datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    pool,
                    data,
                    most_ms,
                    keys.JOB_PREFIX,
                    self._pools.bytes_in(pool, most_ms / 1000),
                ],
            ),
            deadline,
        )
        return bool(admitted)


def _travelling(made: list[tuple[str, Block]], found: Fetched) -> list[tuple[str, Block]]:
    """Return the blocks whose text can be written as JSON (a lone surrogate cannot)."""
    travelling = []
    for pool, block in made:
        try:
            block.text.encode()
        except UnicodeEncodeError:
            found.forms[block.key] = Form(None)
        else:
            travelling.append((pool, block))
    return travelling


def _read(packed: bytes) -> Form:
    """Read a cached form; one that another version wrote counts as failed."""
    try:
        return unpack_form(packed)
    except (msgspec.DecodeError, ValueError):
        return Form(None, outcome="failed")
