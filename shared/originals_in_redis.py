"""How originals are stored in Redis, by front ends and workers alike."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from . import keys
from .jobs import Original, pack_original


def digest_of(original: str) -> str:
    """Return the hash (24 hex digits) under which an original is kept."""
    return sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def keep(
    pipe: Any,
    user: str,
    originals: Iterable[Original],
    refresh: Iterable[str],
    ttl: int,
    now: float,
) -> None:
    """Add to ``pipe`` commands that store ``originals`` and renew those with ``refresh`` hashes.

    ``pipe`` is a redis-py pipeline, of either kind; ``user`` is the tag, ``ttl`` seconds,
    ``now`` the time at the queues' Redis (:mod:`shared.clock`).
    Each leaves a tombstone that outlives it, so that expired is distinguished from unknown.
    """
    stones = keys.tombstones(user)
    fresh: dict[str, float] = {}
    for original in originals:
        pipe.set(keys.original(user, original.hash), pack_original(original), ex=ttl)
        fresh[original.hash] = now
    known = dict.fromkeys(refresh, now)
    for digest in known:
        pipe.expire(keys.original(user, digest), ttl)
    if known:
        # Only existing entries (XX), so that a forged marker does not look like an expired one.
        pipe.zadd(stones, known, xx=True)
    if fresh:
        pipe.zadd(stones, fresh)
        pipe.zremrangebyrank(stones, 0, -keys.TOMBSTONES - 1)
    pipe.expire(stones, keys.TOMBSTONE_TTL_SECONDS)
