"""Steps 3 to 5: look blocks up, enqueue the misses, wait for their forms.

One connection receives all replies of this process: workers push finished blocks to the
list that the job names, and :class:`Dispatcher` hands each to whoever waits for it. So
thousands of waits cost one blocking command and nothing polls.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from shared import keys
from shared.connection import BROKEN, connect_async
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import (
    Block,
    EngineStatus,
    Form,
    Job,
    Options,
    Original,
    encode_block,
    job_frame,
    unpack_form,
    unpack_original,
    unpack_reply,
    unpack_status,
)
from shared.originals import keep
from shared.scripts import script
from shared.settings import POOLS, Settings

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Errand:
    """A block to be compressed and the pool whose engines do it."""

    pool: str
    block: Block


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job comes from: its request's id and W3C ``traceparent`` (empty: none)."""

    request_id: str
    trace: str = ""


class Dispatcher:
    """This process's way to Redis: the session cache, the queues and the replies."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = connect_async(settings)
        self._receiver = connect_async(settings, blocking_seconds=_POLL_SECONDS)
        self._name = secrets.token_hex(8)
        self._reply = keys.replies(self._name)
        self._waiting: dict[tuple[str, str], set[asyncio.Future[Form]]] = {}
        self._enqueue = self._redis.register_script(script("enqueue"))
        self._lookup = self._redis.register_script(script("lookup"))
        self._tasks: list[asyncio.Task[None]] = []
        self._down_until = 0.0
        self.alive: dict[str, int] = dict.fromkeys(POOLS, 0)
        self.text_engines: Counter[EngineStatus] = Counter()

    async def start(self) -> None:
        """Start receiving replies and watching the pools."""
        await self._watch_once()
        self._tasks = [
            asyncio.create_task(self._receive(), name="replies"),
            asyncio.create_task(self._watch(), name="pools"),
        ]

    async def stop(self) -> None:
        """Stop the background tasks and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._receiver.aclose()
        await self._redis.aclose()

    @property
    def redis_up(self) -> bool:
        """Whether Redis answered last time, or it is time to try again."""
        return time.monotonic() >= self._down_until

    async def ping(self) -> bool:
        """Ask Redis whether it is there and may be written to (readiness)."""
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                await self._redis.set(f"{keys.PREFIX}:ping", self._name, ex=60)
        except BROKEN:
            return False
        return True

    async def lookup(self, user: str, wanted: Sequence[str], deadline: Deadline) -> dict[str, Form]:
        """Return the forms of ``wanted`` block keys that the session cache of ``user`` holds.

        Raises:
            Degraded: Redis did not answer in time.
        """
        found = await self._ask(
            self._lookup(keys=[keys.cache(user), keys.ages(user)], args=[_now_ms(), *wanted]),
            deadline,
        )
        forms = {}
        for key, packed in zip(wanted, found, strict=True):
            form = _read(packed)
            if form is not None:
                forms[key] = form
        return forms

    async def compress(
        self,
        user: str,
        errands: Sequence[Errand],
        *,
        options: Options,
        context: str,
        origin: Origin,
        deadline: Deadline,
    ) -> tuple[dict[str, Form], set[str]]:
        """Have ``errands`` done; return the forms ready by the deadline and why others are not.

        A block that somebody already works on for this user is waited for, not enqueued.
        Late blocks go on and fill the session cache.
        """
        forms: dict[str, Form] = {}
        reasons: set[str] = set()
        futures: dict[str, asyncio.Future[Form]] = {}
        loop = asyncio.get_running_loop()
        travelling: list[Errand] = []
        for errand in errands:
            if not _travels(errand.block):
                forms[errand.block.key] = Form(None)
                continue
            travelling.append(errand)
            future: asyncio.Future[Form] = loop.create_future()
            futures[errand.block.key] = future
            self._waiting.setdefault((user, errand.block.key), set()).add(future)
        try:
            waiting = set(futures)
            for pool, blocks in self._batches(travelling):
                job = Job(
                    user=user,
                    reply=self._reply,
                    options=options,
                    context=context,
                    request_id=origin.request_id,
                    expires=deadline.wall,
                    blocks=[],
                    trace=origin.trace,
                )
                statuses = await self._submit(pool, job, blocks, deadline)
                for block, status in zip(blocks, statuses, strict=True):
                    if isinstance(status, Form):
                        forms[block.key] = status
                        waiting.discard(block.key)
                    elif status is not None:
                        reasons.add(status)
                        waiting.discard(block.key)
            if waiting:
                await asyncio.wait([futures[k] for k in waiting], timeout=deadline.remaining)
            for key in waiting:
                if futures[key].done():
                    forms[key] = futures[key].result()
                else:
                    reasons.add("deadline")
        except Degraded as error:
            reasons.add(error.reason)
        finally:
            self._forget(user, futures)
        return forms, reasons

    async def keep(
        self, user: str, originals: Iterable[Original], refresh: Iterable[str], deadline: Deadline
    ) -> None:
        """Store ``originals`` and prolong those already stored under ``refresh`` hashes.

        Raises:
            Degraded: Redis did not take them.
        """
        pipe = self._redis.pipeline(transaction=False)
        keep(pipe, user, originals, refresh, self._settings.original_ttl)
        await self._ask(pipe.execute(), deadline)

    async def retrieve(
        self, user: str, digest: str, deadline: Deadline
    ) -> tuple[Original, int] | None:
        """Return an original of ``user`` and how often it was retrieved, and prolong its life.

        Raises:
            Degraded: Redis did not answer in time.
        """
        ttl = self._settings.original_ttl
        packed = await self._ask(self._redis.get(keys.original(user, digest)), deadline)
        if packed is None:
            return None
        pipe = self._redis.pipeline(transaction=False)
        pipe.incr(keys.reads(user, digest))
        pipe.expire(keys.reads(user, digest), ttl)
        pipe.expire(keys.original(user, digest), ttl)
        count, *_ = await self._ask(pipe.execute(), deadline)
        return unpack_original(packed), count

    async def was_kept(self, user: str, digest: str, deadline: Deadline) -> bool:
        """Say whether ``user`` once had an original under ``digest``.

        Raises:
            Degraded: Redis did not answer in time.
        """
        score = await self._ask(self._redis.zscore(keys.tombstones(user), digest), deadline)
        return score is not None

    async def touch(self, name: str, user: str, deadline: Deadline) -> None:
        """Prolong the session of ``user`` (called ``name``), ending the oldest beyond the bound.

        Raises:
            Degraded: Redis did not answer in time.
        """
        settings = self._settings
        pipe = self._redis.pipeline(transaction=False)
        pipe.expire(keys.cache(user), settings.session_ttl)
        pipe.expire(keys.ages(user), settings.session_ttl)
        pipe.expire(keys.session(user), settings.session_ttl)
        pipe.zadd(keys.SESSIONS, {name: time.time()})
        pipe.zremrangebyscore(keys.SESSIONS, "-inf", time.time() - settings.session_ttl)
        pipe.expire(keys.SESSIONS, settings.session_ttl)
        pipe.zcard(keys.SESSIONS)
        *_, count = await self._ask(pipe.execute(), deadline)
        if count > settings.max_user_sessions:
            gone = await self._ask(
                self._redis.zpopmin(keys.SESSIONS, count - settings.max_user_sessions), deadline
            )
            tags = [keys.user_tag(item[0].decode("utf-8", "surrogatepass")) for item in gone]
            for tag in tags:
                await self._ask(self._redis.unlink(keys.cache(tag), keys.ages(tag)), deadline)

    async def note(
        self, name: str, user: str, hits: int, misses: int, saved: int, deadline: Deadline
    ) -> None:
        """Write down what the session cache of ``user`` (called ``name``) did for a request.

        Raises:
            Degraded: Redis did not answer in time.
        """
        counters = keys.session(user)
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(keys.SESSIONS, {name: time.time()})
        for field, amount in (("hits", hits), ("misses", misses), ("saved", saved)):
            if amount:
                pipe.hincrby(counters, field, amount)
        pipe.expire(counters, self._settings.session_ttl)
        pipe.expire(keys.SESSIONS, self._settings.session_ttl)
        await self._ask(pipe.execute(), deadline)

    # ── enqueueing ──────────────────────────────────────────────────────────────────

    def _batches(self, errands: Sequence[Errand]) -> Iterable[tuple[str, list[Block]]]:
        """Group errands into few jobs: by pool, within the job's bounds."""
        settings = self._settings
        for pool in POOLS:
            batch: list[Block] = []
            size = 0
            for errand in errands:
                if errand.pool != pool:
                    continue
                length = len(errand.block.text)
                over = size + length > settings.job_max_bytes
                if batch and (over or len(batch) >= settings.job_max_blocks):
                    yield pool, batch
                    batch, size = [], 0
                batch.append(errand.block)
                size += length
            if batch:
                yield pool, batch

    async def _submit(
        self, pool: str, job: Job, blocks: list[Block], deadline: Deadline
    ) -> list[Form | str | None]:
        """Enqueue one job; per block its form, the reason it will not come, or None: wait."""
        job_id = secrets.token_hex(12)
        head, tail = job_frame(job)
        pairs: list[bytes | str] = []
        for block in blocks:
            pairs += [block.key, encode_block(block)]
        user = job.user
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        statuses = await self._ask(
            self._enqueue(
                keys=[
                    keys.cache(user),
                    keys.ages(user),
                    keys.flights(user),
                    keys.queue(pool),
                    keys.job(job_id),
                ],
                args=[
                    _now_ms(),
                    keys.FLIGHT_SECONDS * 1000,
                    self._reply,
                    job_id,
                    self._settings.queue_max_jobs,
                    keys.JOB_TTL_SECONDS,
                    stamp,
                    pool,
                    head,
                    tail,
                    *pairs,
                ],
            ),
            deadline,
        )
        return [self._status(pool, status) for status in statuses]

    def _status(self, pool: str, status: Any) -> Form | str | None:
        if isinstance(status, list):
            return _read(status[1]) or Form(None, outcome="failed")
        if status == b"full":
            return "overload"
        return None if self.alive[pool] else "no_workers"

    async def _ask(self, command: Any, deadline: Deadline) -> Any:
        """Await one Redis command within the deadline; a failure keeps others from trying."""
        if not self.redis_up:
            command.close()
            raise Degraded("redis")
        try:
            async with asyncio.timeout(min(deadline.remaining, self._settings.redis_timeout)):
                return await command
        except BROKEN as error:
            if deadline.remaining > 0:
                self._down_until = time.monotonic() + self._settings.redis_retry_seconds
            _log.warning("redis_failed", error=type(error).__name__)
            raise Degraded("redis") from None

    # ── receiving ───────────────────────────────────────────────────────────────────

    def _forget(self, user: str, futures: dict[str, asyncio.Future[Form]]) -> None:
        for key, future in futures.items():
            waiters = self._waiting.get((user, key))
            if waiters is not None:
                waiters.discard(future)
                if not waiters:
                    del self._waiting[(user, key)]

    async def _receive(self) -> None:
        while True:
            try:
                popped: Any = await self._receiver.blmpop(
                    _POLL_SECONDS, 1, self._reply, direction="LEFT", count=64
                )
            except BROKEN:
                await asyncio.sleep(self._settings.redis_retry_seconds / 4)
                continue
            for packed in popped[1] if popped else ():
                self._deliver(packed)

    def _deliver(self, packed: bytes) -> None:
        try:
            reply = unpack_reply(packed)
            form = unpack_form(reply.form)
        except (msgspec.DecodeError, ValueError):
            _log.warning("reply_unreadable", bytes=len(packed))
            return
        for future in self._waiting.get((reply.user, reply.key), ()):
            if not future.done():
                future.set_result(form)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.worker_heartbeat_seconds)
            await self._watch_once()

    async def _watch_once(self) -> None:
        oldest = time.time() - keys.WORKER_TTL_SECONDS
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                pipe = self._redis.pipeline(transaction=False)
                for pool in POOLS:
                    pipe.zrangebyscore(keys.workers(pool), oldest, "+inf")
                names = dict(zip(POOLS, await pipe.execute(), strict=True))
                engines = [keys.engine("gpu", name.decode()) for name in names["gpu"]]
                packed = await self._redis.mget(engines) if engines else []
        except BROKEN:
            return
        self._down_until = 0.0
        self.alive = {pool: len(found) for pool, found in names.items()}
        self.text_engines = Counter(s for s in map(_read_status, packed) if s is not None)


def _travels(block: Block) -> bool:
    """Say whether the block's text can be written as JSON (a lone surrogate cannot)."""
    try:
        block.text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _now_ms() -> int:
    return int(time.time() * 1000)


def _read_status(packed: Any) -> EngineStatus | None:
    try:
        return unpack_status(packed) if packed else None
    except (msgspec.DecodeError, ValueError):
        return None


def _read(packed: bytes | None) -> Form | None:
    """Read a cached form; one that another version wrote counts as absent."""
    if packed is None:
        return None
    try:
        return unpack_form(packed)
    except (msgspec.DecodeError, ValueError):
        return None
