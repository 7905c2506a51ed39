"""The emergency switch: while its key exists, every conversation is returned verbatim.

``headroom-farm bypass`` sets it, front ends poll it (``api/runtime/bypass.py``). Any value of the
key means on, so an operator who has only a Redis client can set it.
"""

from __future__ import annotations

import time

import msgspec
import redis

from . import keys

REASON = "bypass_switch"
"""The name of this cause in answers, usage records and metrics."""
_UNKNOWN = "not said"


class Bypass(msgspec.Struct, frozen=True):
    """The reason, and the start and end in epoch seconds; ``until`` 0 means no end."""

    reason: str = _UNKNOWN
    since: float = 0.0
    until: float = 0.0


def read(packed: bytes | None) -> Bypass | None:
    """Return the key's decoded value; None if there is no key."""
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
    """Return the current state; None if it is off."""
    packed = client.get(keys.BYPASS)
    return read(packed if isinstance(packed, bytes) else None)
