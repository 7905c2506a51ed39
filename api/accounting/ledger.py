"""Step 7: account. Each answered request is written to Redis exactly once.

An entry is written to the local journal before its answer is sent, and then to Redis, in batches.
It is removed from the journal once Redis has it on disk. Entries carry their writer's name and a
sequence number, and Redis keeps the last number of each writer, so entries that may have been
lost can always be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from shared import keys
from shared.circuit_breaker import cause_of
from shared.redis_connection import BROKEN, connect_async, renew_async
from shared.scripts import script
from shared.settings import Settings

from ..runtime.background_tasks import end, supervise
from .usage_record import RINGS, UsageRecord
from .write_ahead_log import Line, WriteAheadLog, orphans

_log = structlog.get_logger(__name__)
_pack = msgspec.msgpack.Encoder().encode
_BATCH = 64
"""Maximum number of entries in one round trip."""
_GATHER_SECONDS = 0.01
"""Seconds for which entries are collected into a batch, because a round trip costs more than an
entry."""
_WAIT_SECONDS = 0.25
"""Maximum time, in seconds, that a report waits for entries of earlier requests."""
_BARRIER_SECONDS = 1.0
"""Interval, in seconds, at which entries that Redis has on disk are removed from the journal."""
_AOF_MS = 2000
"""Timeout of one WAITAOF, in milliseconds."""
_ADOPT_SECONDS = 10.0
"""Interval, in seconds, at which journals of ended processes are searched for."""
_STOP_SECONDS = 2.0
"""Maximum time, in seconds, that stopping waits for pending entries."""
USER_HOURS = timedelta(hours=50)
"""Retention of users' hours, and of the hourly detail of users and models."""
DETAIL_DAYS = timedelta(days=33)
"""Retention of the daily detail of users and models."""
_TRANSFORMS = 300
"""Maximum number of transform names; further ones are counted as ``other``."""
MOST_TRIALS = 20_000
"""Number of sessions in the comparison, the most recent ones: about 6 MB."""
_CLOCK_MARGIN_SECONDS = 300.0
"""Tolerated deviation of a host's clock; beyond it, entries are recorded at Redis's time."""
NAME_UNUSED = timedelta(days=30)
"""How long a name must be unused before a full table reuses its slot."""
PARTS = ("", ":users", ":detail")
"""A bucket's hashes: totals with one row per model, one row per user, and the detail of both."""


class Ledger:
    """The ledger's writer in this process; entries are written in order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.data_dir / "ledger"
        self._journal = WriteAheadLog(self._directory, settings.books_buffer_bytes)
        self._redis = connect_async(settings, blocking_seconds=_AOF_MS / 1000)
        self._sha: str = self._redis.register_script(script("record_usage")).sha
        self._seq = 0
        self._pending: deque[Line] = deque()
        self._unsure: deque[Line] = deque()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._up = True
        self._lost = False
        self._corrected = False
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped = 0

    async def start(self) -> None:
        """Start writing, beginning with entries of earlier processes."""
        self._journal.open()
        self._tasks = [
            supervise("ledger", self._write_on, essential=True),
            supervise("ledger-barrier", self._confirm_on),
            supervise("ledger-orphans", self._adopt_on),
        ]

    async def stop(self) -> None:
        """Write pending entries for a few seconds; the journal keeps the rest."""
        with contextlib.suppress(*BROKEN):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._written()
                await self._confirm()
        await end(self._tasks)
        clean = not self._pending and not self._unsure
        self._journal.close(clean=clean)
        if clean:
            with contextlib.suppress(*BROKEN):
                await self._redis.hdel(keys.books("writers"), self._journal.writer)
        await self._redis.aclose()

    def record(self, entry: UsageRecord) -> None:
        """Write ``entry`` to the journal now, and to Redis in the background."""
        line = Line(self._seq + 1, entry)
        if not self._journal.append(line):
            self.dropped += 1
            _log.error("ledger_entry_dropped", dropped=self.dropped)
            return
        self._seq += 1
        self._pending.append(line)
        self._wake.set()

    async def settled(self) -> None:
        """Return when Redis has all earlier entries, at the latest after :data:`_WAIT_SECONDS`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._written()

    async def _written(self) -> None:
        """Return when Redis has all earlier entries, or is known to be unavailable."""
        if self._pending and self._up:
            written = asyncio.get_running_loop().create_future()
            self._waiting.append((self._seq, written))
            await written

    @property
    def backlog(self) -> int:
        """Number of entries of this process that Redis does not have."""
        return len(self._pending)

    # ── writing ─────────────────────────────────────────────────────────────────────

    async def _write_on(self) -> None:
        """Send pending lines; the only task that adds to ``_unsure`` or removes from its end."""
        resent = False
        self._wake.set()  # after a failure, entries wait whose wake-up has been consumed
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            while self._pending or self._lost:
                if self._lost:
                    self._again()
                batch = [self._pending[i] for i in range(min(_BATCH, len(self._pending)))]
                try:
                    taken = await self.send(self._journal.writer, batch, anyway=resent)
                except BROKEN as error:
                    await self._back_off(error)
                    continue
                resent, self._lost = not taken, self._lost or not taken
                if not taken:
                    continue
                self._up = True
                for line in batch:
                    self._pending.popleft()
                    self._unsure.append(line)
                self._release(batch[-1].seq)

    async def _back_off(self, error: BaseException) -> None:
        """Redis is unavailable: wake all waiters, and send possibly lost lines again."""
        if self._up:
            _log.warning("ledger_waits", error=type(error).__name__, entries=self.backlog)
        self._up = False
        self._release(self._seq)
        self._lost = True
        with contextlib.suppress(*BROKEN):
            await renew_async(self._redis)
        await asyncio.sleep(self._settings.redis_retry_seconds)

    def _release(self, seq: int) -> None:
        """Wake callers that wait for entries up to number ``seq``."""
        while self._waiting and self._waiting[0][0] <= seq:
            _, written = self._waiting.popleft()
            if not written.done():
                written.set_result(None)

    def _again(self) -> None:
        """Put lines that Redis may have lost back at the front of the queue, in order.

        Redis ignores those that it has.
        """
        self._lost = False
        self._pending.extendleft(reversed(self._unsure))
        self._unsure.clear()

    async def send(self, writer: str, lines: list[Line], *, anyway: bool = False) -> bool:
        """Write lines of ``writer``, in order; Redis ignores those it has already.

        Returns False if Redis lacks earlier lines and therefore took none, unless ``anyway``.

        Raises:
            RedisError, OSError, TimeoutError: some or all lines may not be written.
        """
        results = await self._run(writer, lines, anyway)
        if any(isinstance(result, NoScriptError) for result in results):
            await self._redis.script_load(script("record_usage"))
            results = await self._run(writer, lines, anyway)
        for line, result in zip(lines, results, strict=True):
            if isinstance(result, ResponseError) and _is_of_the_entry(result):
                self.dropped += 1
                _log.error("ledger_entry_refused", seq=line.seq, dropped=self.dropped)
            elif isinstance(result, Exception):
                raise result
        if 2 in results and not self._corrected:
            self._corrected = True
            _log.warning("ledger_clock_corrected", entries=results.count(2))
        return -1 not in results

    async def _run(self, writer: str, lines: list[Line], anyway: bool) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for line in lines:
            names, arguments = self._command(line.entry)
            pipe.evalsha(
                self._sha,
                len(names),
                *names,
                writer,
                line.seq,
                *arguments,
                "anyway" if anyway else "",
            )
        async with asyncio.timeout(self._settings.redis_timeout):
            results: list[Any] = await pipe.execute(raise_on_error=False)
        return results

    def _command(self, entry: UsageRecord) -> tuple[list[str], list[bytes]]:
        """Return the script's keys, and those of its arguments that depend on the entry."""
        settings = self._settings
        names = ("writers", f"answer:{entry.answer}", "recent", "history", "buckets")
        used = ("used:users", "used:models", "used:transforms")
        life = [*[f"life{part}" for part in PARTS], "trials", "used:trials"]
        kept = timedelta(days=settings.books_days)
        hours, days = min(kept, USER_HOURS), min(kept, DETAIL_DAYS)
        limits = {
            "sent": time.time(),
            "margin": _CLOCK_MARGIN_SECONDS,
            "prefix": keys.books(""),
            "parts": PARTS,
            "keep": [keep.total_seconds() for keep in (kept, hours, hours, kept, kept, days)],
            "users": settings.books_max_users,
            "models": settings.books_max_models,
            "transforms": _TRANSFORMS,
            "trials": MOST_TRIALS,
            "unused": NAME_UNUSED.total_seconds(),
            **RINGS,
            "answer_ttl": keys.ANSWER_TTL_SECONDS,
        }
        return [keys.books(n) for n in (*names, *used, *life)], [_pack(entry), _pack(limits)]

    # ── durability ──────────────────────────────────────────────────────────────────

    async def _confirm_on(self) -> None:
        while True:
            await asyncio.sleep(_BARRIER_SECONDS)
            if self._unsure:
                with contextlib.suppress(*BROKEN):
                    await self._confirm()

    async def _confirm(self) -> None:
        """Remove entries that Redis has on disk from the journal; send lost ones again.

        Raises:
            RedisError, OSError, TimeoutError: it is not known what Redis has.
        """
        if not self._unsure:
            return
        sent, journalled = self._unsure[-1].seq, self._seq
        below = self._journal.rotate()
        has = await self._durable(self._journal.writer)
        if has is None:
            return
        if has < sent:
            self._lost = True
            self._wake.set()
            return
        while self._unsure and self._unsure[0].seq <= has:
            self._unsure.popleft()
        if has >= journalled:
            self._journal.forget(below)

    async def _durable(self, writer: str) -> int | None:
        """Return the last number of ``writer`` that Redis has on disk; None if not known."""
        pipe = self._redis.pipeline(transaction=False)
        # HGET first: WAITAOF covers writes before the SET, not entries written while it waits.
        pipe.hget(keys.books("writers"), writer)
        pipe.set(keys.books("barrier"), writer)
        pipe.execute_command("WAITAOF", 1, 0, _AOF_MS)
        async with asyncio.timeout(_AOF_MS / 1000 + self._settings.redis_timeout):
            last, stored, synced = await pipe.execute(raise_on_error=False)
        for result in (stored, last):
            if isinstance(result, Exception):
                raise result
        if isinstance(synced, RedisConnectionError):
            raise synced
        # An error means that Redis has no append-only file or no WAITAOF: rely on its answer.
        if not isinstance(synced, Exception) and synced[0] < 1:
            return None
        return int(last or 0)

    # ── entries of ended processes ──────────────────────────────────────────────────

    async def _adopt_on(self) -> None:
        while True:
            with contextlib.suppress(*BROKEN):
                await self._adopt()
            await asyncio.sleep(_ADOPT_SECONDS)

    async def _adopt(self) -> None:
        """Write the entries that ended processes left in their journals."""
        for orphan in orphans(self._directory):
            try:
                for start in range(0, len(orphan.lines), _BATCH):
                    await self.send(
                        orphan.writer, orphan.lines[start : start + _BATCH], anyway=True
                    )
                last = orphan.lines[-1].seq if orphan.lines else 0
                has = await self._durable(orphan.writer) if orphan.lines else 0
            except BaseException:
                orphan.release()
                raise
            if has is None or has < last:
                orphan.release()
                continue
            orphan.remove()
            await self._redis.hdel(keys.books("writers"), orphan.writer)
            if orphan.lines:
                _log.info("ledger_taken_over", writer=orphan.writer, entries=len(orphan.lines))


def hour_of(at: datetime) -> str:
    """Return the name of the hour's bucket (UTC)."""
    return f"hour:{at:%Y%m%d%H}"


def day_of(at: datetime) -> str:
    """Return the name of the day's bucket (UTC)."""
    return f"day:{at:%Y%m%d}"


def _is_of_the_entry(error: ResponseError) -> bool:
    """Return whether Redis rejects this particular entry, rather than all writes."""
    if cause_of(error) is not None:
        return False
    return "script:" in str(error) or "not an integer" in str(error)
