"""A user's originals and session in Redis (blocks in progress: :mod:`api.runtime.claim_client`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared import keys
from shared.clock import RedisClock
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import Original, unpack_original
from shared.originals_in_redis import keep
from shared.settings import Settings

from .redis_guard import RedisGuard

_AT_ONCE = 8
"""Users written at the same time; each needs a connection."""

_SLACK = 100
"""Above the limit, 1/100 of all sessions is ended at once, because this reads the whole list."""


@dataclass(slots=True)
class SessionActivity:
    """One user's session cache: cached and uncached blocks, and tokens the cached ones saved."""

    tag: str
    hits: int = 0
    misses: int = 0
    saved: int = 0


class Retrieved(NamedTuple):
    """An original, its number of retrievals, and the note that was stored when it was shown."""

    original: Original
    times: int
    shown: bytes | None


class UserStore:
    """Reads and writes the keys of one or several users, who are given by their tags.

    Every method raises ``Degraded`` if Redis does not answer in time. ``state`` is the Redis with
    the users' keys, ``queues`` the one with the list of all sessions.
    """

    def __init__(self, settings: Settings, state: RedisGuard, queues: RedisGuard) -> None:
        self._settings = settings
        self._state = state
        self._queues = queues
        self._clock = RedisClock()

    async def keep(
        self,
        user: str,
        originals: Iterable[Original],
        refresh: Iterable[str],
        deadline: Deadline,
        shown: Mapping[str, bytes] | None = None,
    ) -> list[str]:
        """Store ``originals`` and renew the TTL of those stored under ``refresh`` hashes.

        ``shown`` maps hashes to notes that :meth:`retrieve` returns. Returns the hashes of
        ``refresh`` that have expired.
        """
        pipe = self._state.client.pipeline(transaction=False)
        stored, known = list(originals), list(dict.fromkeys(refresh))
        now = await self._now(deadline)
        keep(pipe, user, stored, known, self._settings.original_ttl, now)
        if shown:
            pipe.hset(keys.shown(user), mapping=dict(shown))
            pipe.expire(keys.shown(user), self._settings.original_ttl)
            pipe.hlen(keys.shown(user))
        said = await self._state.ask(pipe.execute(), deadline, user)
        if shown:
            await self._bound(user, keys.shown(user), said[-1], keys.TOMBSTONES, deadline)
        there = said[len(stored) : len(stored) + len(known)]
        return [digest for digest, held in zip(known, there, strict=True) if not held]

    async def left(
        self, user: str, chains: Sequence[bytes], deadline: Deadline
    ) -> dict[bytes, frozenset[int]]:
        """Return the texts of these messages that earlier answers left without their form.

        The result maps a message's chain to numbers of texts. An empty set means that texts were
        left before, but have their forms now.
        """
        asked = self._state.client.hmget(keys.left(user), list(chains))
        return _numbers(chains, await self._state.ask(asked, deadline, user))

    async def recall(
        self,
        user: str,
        conversation: bytes,
        own: tuple[bytes, bytes],
        chains: Sequence[bytes],
        waiting: Sequence[bytes],
        deadline: Deadline,
    ) -> tuple[list[bytes | None], dict[bytes, frozenset[int]]]:
        """Store a note for a request, and return the notes of the conversation's earlier ones.

        ``own`` is the request's last chain and its note; an existing note is not replaced.
        Returns the note of each of ``chains`` (None if there is none), and the result of
        :meth:`left` for ``waiting``.
        """
        key = keys.sent(user, conversation)
        pipe = self._state.client.pipeline(transaction=False)
        pipe.hmget(key, list(chains))
        pipe.hsetnx(key, *own)
        pipe.expire(key, self._settings.session_ttl)
        pipe.hlen(key)
        if waiting:
            pipe.hmget(keys.left(user), list(waiting))
        noted, _, _, count, *left = await self._state.ask(pipe.execute(), deadline, user)
        await self._bound(user, key, count, keys.SENT_MAX, deadline)
        return noted, _numbers(waiting, left[0] if left else [])

    async def forms(
        self, user: str, block_keys: Sequence[str], deadline: Deadline
    ) -> dict[str, bytes]:
        """Return the packed forms of these blocks that are in the session cache, by block key."""
        asked = self._state.client.hmget(keys.cache(user), list(block_keys))
        found = await self._state.ask(asked, deadline, user)
        return {k: form for k, form in zip(block_keys, found, strict=True) if form is not None}

    async def leave(
        self, user: str, left: Mapping[bytes, Iterable[int]], deadline: Deadline
    ) -> None:
        """Record texts that are sent without their form, so that every replica repeats that."""
        key = keys.left(user)
        pipe = self._state.client.pipeline(transaction=False)
        written = {chain: b" ".join([b"%d" % n for n in found]) for chain, found in left.items()}
        pipe.hset(key, mapping=written)
        pipe.expire(key, self._settings.session_ttl)
        pipe.hlen(key)
        *_, count = await self._state.ask(pipe.execute(), deadline, user)
        await self._bound(user, key, count, keys.LEFT_MAX, deadline)

    async def retrieve(self, user: str, digest: str, deadline: Deadline) -> Retrieved | None:
        """Return an original of ``user``; renew its TTL."""
        ttl = self._settings.original_ttl
        redis = self._state.client
        packed = await self._state.ask(redis.get(keys.original(user, digest)), deadline, user)
        if packed is None:
            return None
        pipe = redis.pipeline(transaction=False)
        pipe.incr(keys.reads(user, digest))
        pipe.expire(keys.reads(user, digest), ttl)
        pipe.expire(keys.original(user, digest), ttl)
        pipe.hget(keys.shown(user), digest)
        count, _, _, shown = await self._state.ask(pipe.execute(), deadline, user)
        return Retrieved(unpack_original(packed), count, shown)

    async def was_kept(self, user: str, digest: str, deadline: Deadline) -> bool:
        """Return whether ``user`` once had an original under ``digest``."""
        asked = self._state.client.zscore(keys.tombstones(user), digest)
        return await self._state.ask(asked, deadline, user) is not None

    async def touch(self, users: Mapping[str, str], deadline: Deadline) -> None:
        """Renew the sessions of ``users`` (tags by name); end the oldest beyond the limit."""
        settings = self._settings
        await self._together([self._prolong(user, deadline) for user in users.values()])
        now = await self._now(deadline)
        pipe = self._queues.client.pipeline(transaction=False)
        pipe.zremrangebyscore(keys.SESSIONS, "-inf", now - settings.session_ttl)
        pipe.zcard(keys.SESSIONS)
        *_, count = await self._queues.ask(pipe.execute(), deadline)
        if count > settings.max_user_sessions:
            await self._end_oldest(deadline)

    async def _end_oldest(self, deadline: Deadline) -> None:
        """End sessions beyond the limit: the oldest of the tenants with the most sessions."""
        redis = self._queues.client
        found = await self._queues.ask(redis.zrangebyscore(keys.SESSIONS, "-inf", "+inf"), deadline)
        names = [name.decode("utf-8", "surrogatepass") for name in found]
        bound = self._settings.max_user_sessions
        gone = _beyond(names, bound - bound // _SLACK)
        if not gone:
            return
        taken = [name.encode("utf-8", "surrogatepass") for name in gone]
        await self._queues.ask(redis.zrem(keys.SESSIONS, *taken), deadline)
        for name in gone:
            tag = keys.user_tag(name)
            ended = self._state.client.unlink(keys.cache(tag), keys.ages(tag), keys.session(tag))
            await self._state.ask(ended, deadline, tag)

    async def note(self, users: Mapping[str, SessionActivity], deadline: Deadline) -> None:
        """Write the activity of ``users``, by name, the most recent one last."""
        settings = self._settings
        await self._together([self._add(noted, deadline) for noted in users.values()])
        now = await self._now(deadline)
        pipe = self._queues.client.pipeline(transaction=False)
        pipe.zadd(keys.SESSIONS, {name: now + i * 1e-6 for i, name in enumerate(users)})
        pipe.expire(keys.SESSIONS, settings.session_ttl)
        await self._queues.ask(pipe.execute(), deadline)

    async def _bound(self, user: str, key: str, count: int, most: int, deadline: Deadline) -> None:
        """Delete a hash that has more than ``most`` fields; it starts again empty."""
        if count > most:
            await self._state.ask(self._state.client.unlink(key), deadline, user)

    async def _now(self, deadline: Deadline) -> float:
        """Return the time of the queues' Redis, by the last reading while it is unavailable."""
        now = self._clock.fresh
        if now is not None:
            return now
        try:
            return self._clock.note(await self._queues.ask(self._queues.client.time(), deadline))
        except Degraded:
            if self._clock.last is None:
                raise
            return self._clock.last

    # ── several users, whose nodes may fail independently ───────────────────────────

    async def _prolong(self, user: str, deadline: Deadline) -> None:
        pipe = self._state.client.pipeline(transaction=False)
        for key in (keys.cache(user), keys.ages(user), keys.session(user)):
            pipe.expire(key, self._settings.session_ttl)
        await self._state.ask(pipe.execute(), deadline, user)

    async def _add(self, noted: SessionActivity, deadline: Deadline) -> None:
        pipe = self._state.client.pipeline(transaction=False)
        counters = keys.session(noted.tag)
        amounts = {"hits": noted.hits, "misses": noted.misses, "saved": noted.saved}
        for field, amount in amounts.items():
            if amount:
                pipe.hincrby(counters, field, amount)
        pipe.expire(counters, self._settings.session_ttl)
        await self._state.ask(pipe.execute(), deadline, noted.tag)

    async def _together(self, writes: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run all ``writes``, a few at a time; raise the first failure after all have ended."""
        failed: list[BaseException] = []
        for start in range(0, len(writes), _AT_ONCE):
            part = writes[start : start + _AT_ONCE]
            outcomes = await asyncio.gather(*part, return_exceptions=True)
            failed += [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failed:
            raise failed[0]


def _numbers(chains: Sequence[bytes], found: Sequence[bytes | None]) -> dict[bytes, frozenset[int]]:
    """Return the numbers of texts found for each chain; chains without an entry are left out."""
    return {
        chain: frozenset(map(int, numbers.split()))
        for chain, numbers in zip(chains, found, strict=True)
        if numbers is not None
    }


def _beyond(names: Sequence[str], most: int) -> list[str]:
    """Return the sessions of ``names`` (oldest first) to end so that ``most`` are left.

    The same limit applies to every tenant, so a tenant with fewer sessions loses none. If there
    are more tenants than ``most``, the oldest sessions end.
    """
    counts = Counter(map(keys.tenant_of, names))
    left, share = most, 0
    for rank, count in enumerate(sorted(counts.values())):
        share = left // (len(counts) - rank)
        if count > share:
            break
        left -= count
    else:
        return []
    over = {tenant: count - max(1, share) for tenant, count in counts.items()}
    gone, kept = [], []
    for name in names:
        tenant = keys.tenant_of(name)
        if over[tenant] > 0:
            over[tenant] -= 1
            gone.append(name)
        else:
            kept.append(name)
    return gone + kept[: max(0, len(kept) - most)]
