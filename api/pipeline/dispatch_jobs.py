"""Steps 3 to 5: look up blocks and claim the misses, enqueue them, wait for their forms."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared import keys
from shared.claim_protocol import ABSENT, CLAIMED, LEASE_MS
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import (
    Block,
    Form,
    Job,
    Options,
    job_data,
)
from shared.scripts import script
from shared.settings import POOLS, Settings

from ..runtime.claim_client import Claims
from ..runtime.redis_guard import RedisGuard
from ..runtime.result_inbox import Awaited, ResultInbox
from ..runtime.worker_view import WorkerView

_LAPSE_SECONDS = 0.02
"""Seconds to wait after another request's claim has expired before claiming the block."""
_WAITING_SHARE = 0.4
"""Maximum share of a request's remaining time for which its job may queue; above it, the job is
rejected."""
_PATIENCE_MS = 500
"""Milliseconds of queueing up to which a job is enqueued even if its request has less time: a late
result is used in the next turn."""
Make = Callable[[list[str]], Awaitable[list[Block]]]
"""Makes the blocks of the given keys, in order."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from: its request's id and W3C ``traceparent`` (empty: none).

    ``tenant`` is the tag of its user's tenant; empty if the user is its own tenant.
    """

    request_id: str
    trace: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """The properties shared by all jobs of one request. ``user`` is the user tag."""

    user: str
    options: Options
    context: str
    origin: Origin


@dataclass(slots=True)
class Fetched:
    """The forms available by the deadline, which of them are cached, and why others are missing.

    ``looked_up`` is when the cache answered (``time.perf_counter()``), None if it did not.
    """

    forms: dict[str, Form] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    looked_up: float | None = None


@dataclass(slots=True)
class _Request:
    """One request's blocks: those it needs, and those it waits for.

    ``joined`` is the time (``time.monotonic()``) at which a block claimed by another request must
    be claimed again; ``again`` are the blocks whose claim has been given up once.
    """

    order: Order
    wanted: Mapping[str, str]
    make: Make
    deadline: Deadline
    found: Fetched
    awaited: Awaited
    waiting: set[str] = field(default_factory=set)
    joined: dict[str, float] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)


class Dispatcher:
    """Gets the forms of blocks from the session caches or from the pools."""

    def __init__(
        self,
        settings: Settings,
        state: RedisGuard,
        queues: RedisGuard,
        pools: WorkerView,
        replies: ResultInbox,
    ) -> None:
        self._settings = settings
        self._queues = queues
        self._pools = pools
        self._replies = replies
        self._claims = Claims(settings, state, queues, replies)
        self._push = queues.client.register_script(script("push_job"))

    async def start(self) -> None:
        """Start renewing this process's claims."""
        await self._claims.start()

    async def stop(self) -> None:
        """Stop renewing them."""
        await self._claims.stop()

    async def fetch(
        self, order: Order, wanted: Mapping[str, str], make: Make, deadline: Deadline
    ) -> Fetched:
        """Return the forms of ``wanted`` blocks: cached ones, and others when they are finished.

        ``wanted`` maps block keys to pools. ``make`` is called once the cache has answered, with
        the keys of blocks that are in no job (possibly none), and returns their blocks in order. A
        block of this user that is already being processed is not enqueued again; if its claim is
        given up or expires, ``make`` is called again for it. Blocks that finish late are still
        stored in the session cache.
        """
        found = Fetched()
        with self._replies.awaited(order.user, wanted) as awaited:
            request = _Request(order, wanted, make, deadline, found, awaited)
            try:
                await self._obtain(request, list(wanted))
            except Degraded as error:
                found.reasons.add(error.reason)
            await self._wait(request)
        return found

    async def _obtain(self, request: _Request, names: list[str]) -> None:
        """Look up ``names``, join those being processed, and enqueue the rest.

        Raises:
            Degraded: Redis did not answer in time.
        """
        found, user = request.found, request.order.user
        claimed: set[str] = set()
        try:
            for key, answer in await self._claims.claim(user, names, request.deadline):
                if isinstance(answer, Form):
                    found.forms[key] = answer
                    found.cached.add(key)
                elif answer == CLAIMED:
                    claimed.add(key)
                elif answer == ABSENT:
                    found.reasons.add("overload")
                else:
                    self._expect(request, key, -answer / 1000)
            first = found.looked_up is None
            found.looked_up = found.looked_up or time.perf_counter()
            if claimed or first:
                made = await request.make([key for key in names if key in claimed])
                await self._send(request, made, claimed)
        finally:
            self._claims.give_up(user, sorted(claimed))

    def _expect(self, request: _Request, key: str, seconds: float | None = None) -> None:
        """Wait for a block that is being processed, unless its pool has no worker.

        ``seconds`` is the TTL of another request's claim, None if the claim is this request's.
        """
        if not self._pools.alive[request.wanted[key]]:
            request.found.reasons.add("no_workers")
            return
        request.waiting.add(key)
        if seconds is not None:
            request.joined[key] = time.monotonic() + seconds + _LAPSE_SECONDS

    async def _wait(self, request: _Request) -> None:
        """Wait for all forms until the deadline; take over blocks that others did not finish."""
        waiting, joined, awaited = request.waiting, request.joined, request.awaited
        while waiting:
            due = min(joined.values(), default=float("inf")) - time.monotonic()
            await awaited.wait(waiting, min(request.deadline.remaining, max(0.0, due)))
            for key in waiting & awaited.forms.keys():
                request.found.forms[key] = awaited.forms[key]
                waiting.discard(key)
                joined.pop(key, None)
            given_up = waiting & awaited.given_up
            awaited.given_up.clear()
            if request.deadline.remaining <= 0:
                break
            for key in given_up & request.again:  # not a third time: its pool is full
                request.found.reasons.add("overload")
                waiting.discard(key)
                joined.pop(key, None)
            request.again |= given_up
            now = time.monotonic()
            left = (given_up & waiting) | {key for key, at in joined.items() if at <= now}
            if left:
                await self._take_over(request, left)
        if waiting:
            request.found.reasons.add("deadline")

    async def _take_over(self, request: _Request, left: set[str]) -> None:
        """Claim blocks again whose claims were given up or have expired."""
        request.waiting -= left
        for key in left:
            request.joined.pop(key, None)
        try:
            await self._obtain(request, [key for key in request.wanted if key in left])
        except Degraded as error:
            if request.deadline.remaining <= 0:
                request.found.reasons.add(error.reason)
                return
            # Its result may still arrive.
            for key in left - request.found.forms.keys() - request.waiting:
                self._expect(request, key, LEASE_MS / 1000)

    # ── enqueueing ──────────────────────────────────────────────────────────────────

    def _batches(self, made: Sequence[tuple[str, Block]]) -> Iterable[tuple[str, list[Block]]]:
        """Group blocks by pool into few jobs, within the limits of a job."""
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

    async def _send(self, request: _Request, made: list[Block], claimed: set[str]) -> None:
        """Enqueue blocks and wait for them; enqueued blocks are removed from ``claimed``."""
        found, user = request.found, request.order.user
        placed = [(request.wanted[block.key], block) for block in made]
        for pool, blocks in self._batches(_travelling(placed, found)):
            job_id = secrets.token_hex(12)
            if not await self._enqueue(pool, job_id, request.order, blocks, request.deadline):
                found.reasons.add("overload" if self._pools.alive[pool] else "no_workers")
                continue
            names = [block.key for block in blocks]
            claimed.difference_update(names)
            self._claims.enqueued(user, names, job_id)
            for key in names:
                self._expect(request, key)

    async def _enqueue(
        self, pool: str, job_id: str, order: Order, blocks: list[Block], deadline: Deadline
    ) -> bool:
        """Enqueue one job; return False if the pool rejects it."""
        settings = self._settings
        most_ms = max(_PATIENCE_MS, round(deadline.remaining * 1000 * _WAITING_SHARE))
        data = job_data(
            Job(
                user=order.user,
                reply=self._replies.key,
                options=order.options,
                context=order.context,
                request_id=order.origin.request_id,
                blocks=blocks,
                trace=order.origin.trace,
                wait_ms=round(deadline.remaining * 1000),
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
                    order.origin.tenant,
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
