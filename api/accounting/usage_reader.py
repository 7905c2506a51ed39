"""Reads the ledger: counters of whole buckets, never single requests.

A bucket has a revision number and is read again only if that changed; most days of a month do not
change. For one user or model, only its own fields are read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared import clock, keys
from shared.errors import Unavailable
from shared.redis_connection import BROKEN, connect_async, connect_state_async
from shared.scripts import script
from shared.settings import Settings

from ..runtime.redis_guard import RedisGuard
from .time_range import TimeRange
from .usage_record import RINGS, part_of

Row = dict[str, int]
SERIES_FIELDS = (
    "requests",
    "compressed",
    "compressed_before",
    "saved",
    "before",
    "cost",
    "without",
    "list",
)
_MEMO_ROWS = 40_000
"""Maximum number of user and model rows in memory: a month of 1000 users, about 30 MB."""
_SUMS = 8
_TRIALS_AT_ONCE = 500
"""Sessions that are decoded before other requests may run."""
_AWAY = "the usage records cannot be read at the moment"
_SEPARATOR = "\x1f"


@dataclass(slots=True)
class Rows:
    """Counters of a time range: totals and by model, or by user."""

    total: Row = field(default_factory=dict)
    models: dict[str, Row] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)
    best: int = 0
    best_detail: str = ""

    @property
    def size(self) -> int:
        """The number of rows."""
        return 1 + len(self.models) + len(self.users)

    def add(self, other: Rows) -> None:
        """Add the counters of another time range."""
        _add(self.total, other.total)
        for mine, theirs in ((self.models, other.models), (self.users, other.users)):
            for name, row in theirs.items():
                _add(mine.setdefault(name, {}), row)
        if other.best > self.best:
            self.best, self.best_detail = other.best, other.best_detail


class TrialLine(msgspec.Struct, frozen=True):
    """The sums over a session's requests, under one rule of the policy and in one group.

    ``first`` and ``last`` are the times of the first and last answer (epoch seconds).
    """

    rule: str
    arm: str
    first: float
    last: float
    amounts: Row


class _TrialText(msgspec.Struct, frozen=True):
    first: float
    last: float
    n: dict[str, float]


_trial = msgspec.json.Decoder(_TrialText).decode


class Reader:
    """Reads counters for reports; every front end reads the same ledger.

    If ``queues`` or ``state`` report that Redis is unavailable, a query fails at once. ``settle``
    is awaited before totals are read, so that earlier answers of this process are included.
    Queries use their own connections and never trip a breaker, so a slow one does not stop
    compression.
    """

    def __init__(
        self,
        settings: Settings,
        queues: RedisGuard,
        state: RedisGuard,
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._settle = settle
        self._books_at = queues
        self._users_at = state
        self._redis = connect_async(settings)
        self._read = self._redis.register_script(script("read_hash_fields"))
        self._state = connect_state_async(settings) if settings.state_url else self._redis
        self._memo: OrderedDict[str, tuple[bytes, Rows]] = OrderedDict()
        self._kept = 0
        self._sums: OrderedDict[str, tuple[list[tuple[str, bytes]], Rows]] = OrderedDict()

    async def start(self) -> None:
        """Do nothing: connections are opened when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._state.aclose()

    async def totals(self, window: TimeRange) -> Rows:
        """Return the counters of ``window``: totals and by model. Callers must not change them.

        Raises:
            Unavailable: Redis did not answer.
        """
        if self._books_at.can_read():
            await self._settle()
        return await self._sum(window.buckets)

    async def users(self, window: TimeRange) -> dict[str, Row]:
        """Return the counters of ``window`` by user. Callers must not change them.

        Raises:
            Unavailable: Redis did not answer.
        """
        return (await self._sum([f"{bucket}:users" for bucket in window.buckets])).users

    async def one(self, window: TimeRange, who: str, known: Row) -> Rows:
        """Return the counters of ``window`` of one user or model, as totals.

        ``who`` is a row's prefix. ``known`` are the totals of the same window, for the names of
        its counters. The detail is complete only if ``window.detailed``.

        Raises:
            Unavailable: Redis did not answer.
        """
        names = [n for n in known if part_of(n) == "row"]
        details = [n for n in known if part_of(n) == "detail"]
        buckets = window.buckets
        rows = await self._fields(
            [bucket + _part(who) for bucket in buckets],
            [f"{who}{_SEPARATOR}{n}" for n in ("best", "best_detail", *names)],
        )
        more = await self._fields(
            [f"{bucket}:detail" for bucket in buckets], [f"{who}{_SEPARATOR}{n}" for n in details]
        )
        total = Rows()
        for (best, text, *row), detail in zip(rows, more, strict=True):
            counted = zip([*names, *details], [*row, *detail], strict=True)
            counters = {name: int(amount) for name, amount in counted if amount is not None}
            total.add(Rows(counters, best=int(best or 0), best_detail=(text or b"").decode()))
        return total

    async def series(self, buckets: Sequence[str], who: str = "t") -> list[Row]:
        """Return each bucket's counters (:data:`SERIES_FIELDS`); ``who`` is a row's prefix."""
        found = await self._fields(
            [bucket + _part(who) for bucket in buckets],
            [f"{who}{_SEPARATOR}{name}" for name in SERIES_FIELDS],
        )
        return [
            {name: int(value or 0) for name, value in zip(SERIES_FIELDS, values, strict=True)}
            for values in found
        ]

    async def ring(self, name: str) -> list[dict[str, Any]]:
        """Return the ``recent`` or ``history`` ring, oldest first."""
        found = await self._ask(self._redis.lrange(keys.books(name), -RINGS[name], -1))
        return [msgspec.json.decode(item) for item in found]

    async def model_of(self, answer: str) -> str | None:
        """Return the model of a recently answered request; None if it is unknown or expired.

        Raises:
            Unavailable: Redis did not answer.
        """
        if self._books_at.can_read():
            await self._settle()
        kept = await self._ask(self._redis.get(keys.books(f"answer:{answer}")))
        if kept is None:
            return None
        model: str = msgspec.msgpack.decode(kept)["model"]
        return model

    async def trials(self, window: TimeRange) -> list[TrialLine]:
        """Return the lines of the sessions whose last request is in ``window``.

        Raises:
            Unavailable: Redis did not answer.
        """
        if self._books_at.can_read():
            await self._settle()
        found = await self._ask(self._redis.hgetall(keys.books("trials")))
        since = window.since.timestamp() if window.since is not None else 0.0
        until = window.until.timestamp() if window.until is not None else float("inf")
        lines = []
        for number, (name, packed) in enumerate(found.items()):
            if number % _TRIALS_AT_ONCE == 0:
                await asyncio.sleep(0)  # let other requests run between chunks of thousands
            text = _trial(packed)
            if not since <= text.last <= until:
                continue
            arm, rule, _ = name.decode().split(_SEPARATOR)
            amounts = {what: int(amount) for what, amount in text.n.items()}
            lines.append(TrialLine(rule, arm, text.first, text.last, amounts))
        return lines

    async def sessions(self, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of sessions and the ``limit`` most recent ones."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.zcard(keys.SESSIONS)
        pipe.zrevrange(keys.SESSIONS, 0, limit - 1, withscores=True)
        (seconds, micros), count, newest = await self._ask(pipe.execute())
        now = seconds + micros / 1e6
        users = [(item[0].decode("utf-8", "replace"), float(item[1])) for item in newest]
        tags = [keys.user_tag(user) for user, _ in users]
        if not all(self._users_at.can_read(tag) for tag in tags):
            raise Unavailable(_AWAY)
        pipe = self._state.pipeline(transaction=False)
        for tag in tags:
            pipe.hlen(keys.cache(tag))
            pipe.hmget(keys.session(tag), "hits", "misses", "saved")
        found = await self._ask(pipe.execute())
        return count, [
            {
                "user_id": user,
                "last_active_seconds_ago": round(max(0.0, now - at), 3),
                "cache_entries": found[2 * i],
                "cache_hits": int(found[2 * i + 1][0] or 0),
                "cache_misses": int(found[2 * i + 1][1] or 0),
                "tokens_saved_from_cache": int(found[2 * i + 1][2] or 0),
            }
            for i, (user, at) in enumerate(users)
        ]

    async def pool(self, pool: str) -> dict[str, Any]:
        """Return a pool's queue depth, the oldest job's age, live workers, load and counters."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.lrange(keys.queue(pool), 0, -1)
        pipe.zrangebyscore(keys.workers(pool), "-inf", "+inf", withscores=True)
        pipe.hgetall(keys.metrics(pool))
        pipe.hmget(keys.load(pool), "blocks", "bytes")
        pipe.time()
        waiting, beats, counted, load, answer = await self._ask(pipe.execute())
        now = clock.seconds(answer)
        # The first job need not be the oldest: users without jobs are placed ahead. The pool is
        # bounded, so reading the whole list is cheap.
        pipe = self._redis.pipeline(transaction=False)
        for job_id in waiting:
            pipe.hget(keys.job(job_id.decode()), "since")
        since = await self._ask(pipe.execute()) if waiting else []
        age = max((now - float(at) / 1000 for at in since if at), default=0.0)
        counters = {name.decode(): float(value) for name, value in counted.items()}
        blocks, size = (max(0, int(held or 0)) for held in load)
        return {
            "depth": len(waiting),
            "oldest": max(0.0, age),
            "alive": sum(1 for _, at in beats if at >= now - keys.WORKER_TTL_SECONDS),
            "blocks": blocks,
            "bytes": size,
            "counters": counters,
        }

    async def _ask(self, command: Any) -> Any:
        if not self._books_at.can_read():
            command.close()
            raise Unavailable(_AWAY)
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                return await command
        except BROKEN:
            raise Unavailable(_AWAY) from None

    async def _fields(self, names: list[str], fields: list[str]) -> list[list[bytes | None]]:
        """Return the same ``fields`` of each of the hashes, in one round trip."""
        if not names or not fields:
            return [[] for _ in names]
        command = self._read(keys=[keys.books(name) for name in names], args=fields)
        found: list[list[bytes | None]] = await self._ask(command)
        return found

    async def _sum(self, names: list[str]) -> Rows:
        """Return the sum of these hashes; the sum of all but the last is kept in memory."""
        revisions = await self._fields(names, ["rev"])
        found = [(n, r) for n, (r,) in zip(names, revisions, strict=True) if r is not None]
        if len(found) < 2:
            return await self._bucket(*found[0]) if found else Rows()
        total = Rows()
        total.add(await self._past(found[:-1]))
        total.add(await self._bucket(*found[-1]))
        return total

    async def _past(self, found: list[tuple[str, bytes]]) -> Rows:
        """Return the sum of hashes, by name and revision, that rarely change."""
        first = found[0][0]
        if first not in self._sums or self._sums[first][0] != found:
            total = Rows()
            for name, revision in found:
                total.add(await self._bucket(name, revision))
                await asyncio.sleep(0)  # a year has many users: let other requests run in between
            self._sums[first] = found, total
        self._sums.move_to_end(first)
        while len(self._sums) > _SUMS:
            self._sums.popitem(last=False)
        return self._sums[first][1]

    async def _bucket(self, name: str, revision: bytes) -> Rows:
        """Return one hash's counters at ``revision`` or later."""
        known, rows = self._memo.get(name, (b"", Rows()))
        if known != revision:
            fields = await self._ask(self._redis.hgetall(keys.books(name)))
            if b"rev" not in fields:  # it expired between two commands
                return Rows()
            rows = self._remember(name, fields)
        return rows

    def _remember(self, name: str, fields: dict[bytes, bytes]) -> Rows:
        old = self._memo.pop(name, None)
        rows = _parse(fields)
        self._memo[name] = fields[b"rev"], rows
        self._kept += rows.size - (old[1].size if old else 0)
        while self._kept > _MEMO_ROWS:
            self._kept -= self._memo.popitem(last=False)[1][1].size
        return rows


def _part(who: str) -> str:
    """Return the name of the bucket's hash that has the rows with this prefix."""
    return ":users" if who.startswith("u") else ""


def _parse(fields: dict[bytes, bytes]) -> Rows:
    rows = Rows()
    for packed, value in fields.items():
        kind, *rest = packed.decode("utf-8", "replace").split(_SEPARATOR)
        if kind == "t":
            rows.total[rest[0]] = int(value)
        elif kind in ("m", "u"):
            if not rest[1].startswith("best"):
                named = rows.models if kind == "m" else rows.users
                named.setdefault(rest[0], {})[rest[1]] = int(value)
        elif kind == "best":
            rows.best = int(value)
        elif kind == "best_detail":
            rows.best_detail = value.decode("utf-8", "replace")
    return rows


def _add(mine: Row, theirs: Row) -> None:
    for name, amount in theirs.items():
        mine[name] = mine.get(name, 0) + amount
