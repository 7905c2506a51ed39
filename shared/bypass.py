"""The emergency switch: while its key is there, every conversation goes through verbatim.

``headroom-farm bypass`` turns it, front ends watch it (``api/runtime/bypass.py``). The key is all
there is to it: any value means on, so an operator with nothing but a Redis client can set it.
"""

from __future__ import annotations

import time

import msgspec
import redis

from . import keys

REASON = "bypass_switch"
"""How answers, books and metrics call a conversation that went through for this."""
_UNKNOWN = "not said"


class Bypass(msgspec.Struct, frozen=True):
    """Why everything goes through, and since when; ``until`` 0 has no end. Epoch seconds."""

    reason: str = _UNKNOWN
    since: float = 0.0
    until: float = 0.0


def read(packed: bytes | None) -> Bypass | None:
    """Return what the key's value says; None where there is no key."""
    if packed is None:
        return None
    try:
        return msgspec.json.decode(packed, type=Bypass)
    except msgspec.DecodeError:  # set by hand
        return Bypass()


def turn_on(client: redis.Redis, reason: str | None, seconds: int | None) -> Bypass:
    """Turn it on, for ``seconds`` or until it is turned off; return what was set."""
    now = time.time()
    bypass = Bypass(reason or _UNKNOWN, now, now + seconds if seconds else 0.0)
    client.set(keys.BYPASS, msgspec.json.encode(bypass), ex=seconds)
    return bypass


def turn_off(client: redis.Redis) -> None:
    """Turn it off."""
    client.unlink(keys.BYPASS)


def current(client: redis.Redis) -> Bypass | None:
    """Return whether it is on, and why."""
    packed = client.get(keys.BYPASS)
    return read(packed if isinstance(packed, bytes) else None)
