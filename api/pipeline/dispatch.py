"""Steps 3 to 5: look blocks up and claim the misses, enqueue them, wait for their forms."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared import keys
from shared.claims import ABSENT, CLAIMED, LEASE_MS
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

from ..runtime.claims import Claims
from ..runtime.redis_guard import RedisGuard
from ..runtime.result_inbox import Awaited, ResultInbox
from ..runtime.worker_view import WorkerView

_LAPSE_SECONDS = 0.02
"""How long after its end another's claim is asked for again."""
_WAITING_SHARE = 0.4
"""How much of its time a request's job may spend in the queue, or it is not enqueued."""
_PATIENCE_MS = 500
"""A job that waits no longer than this is enqueued even where its request has less time: done
late, it is there in the next turn."""
Make = Callable[[list[str]], Awaitable[list[Block]]]
"""Makes the blocks of these keys, in their order."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from: its request's id and W3C ``traceparent`` (empty: none).

    ``tenant`` is the tag of who answers for its user; empty where that is the user.
    """

    request_id: str
    trace: str = ""
    tenant: str = ""


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


@dataclass(slots=True)
class _Request:
    """One request's blocks: what it was asked for, and what it waits for.

    ``joined`` says when the claim of a block that another works on must be asked for again
    (``time.monotonic()``); ``again`` are the blocks whose claim was given up once already.
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
        self._queues = queues
        self._pools = pools
        self._replies = replies
        self._claims = Claims(settings, state, queues, replies)
        self._push = queues.client.register_script(script("push"))

    async def start(self) -> None:
        """Begin to prolong this process's claims."""
        await self._claims.start()

    async def stop(self) -> None:
        """Stop prolonging them."""
        await self._claims.stop()

    async def fetch(
        self, order: Order, wanted: Mapping[str, str], make: Make, deadline: Deadline
    ) -> Fetched:
        """Return the forms of ``wanted`` blocks: cached ones, and others when they are done.

        ``wanted`` names each block's pool by the block's key; ``make`` is
        called once the cache has answered, and gives the blocks of the keys that nobody works
        on yet (perhaps none), in their order. A block that somebody already works on for this
        user is waited for, not enqueued; where that one gives up or dies, ``make`` is called
        again for it. Late blocks go on and fill the session cache.
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
        """Look ``names`` up, join what is in work, and enqueue the rest.

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
        """Wait for a block in work, unless nobody is there to work.

        ``seconds`` is how long another's claim lives, None where it is this request's.
        """
        if not self._pools.alive[request.wanted[key]]:
            request.found.reasons.add("no_workers")
            return
        request.waiting.add(key)
        if seconds is not None:
            request.joined[key] = time.monotonic() + seconds + _LAPSE_SECONDS

    async def _wait(self, request: _Request) -> None:
        """Wait until all is there or the deadline is; take over what others leave undone."""
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
            for key in given_up & request.again:  # twice is enough: its pool has no room
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
        """Claim blocks again whose claims were given up or lapsed."""
        request.waiting -= left
        for key in left:
            request.joined.pop(key, None)
        try:
            await self._obtain(request, [key for key in request.wanted if key in left])
        except Degraded as error:
            if request.deadline.remaining <= 0:
                request.found.reasons.add(error.reason)
                return
            # Its result may come all the same.
            for key in left - request.found.forms.keys() - request.waiting:
                self._expect(request, key, LEASE_MS / 1000)

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

    async def _send(self, request: _Request, made: list[Block], claimed: set[str]) -> None:
        """Enqueue blocks and wait for them; what is enqueued is no longer in ``claimed``."""
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
        """Enqueue one job; False where the pool has no room for it."""
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
