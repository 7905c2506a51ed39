"""A gateway's turns, kept in Redis between request and response so that any replica continues."""

from __future__ import annotations

import asyncio
import zlib
from typing import NamedTuple

import msgspec

from shared import keys
from shared.deadline import Deadline
from shared.scripts import script
from shared.settings import Settings

from .redis_guard import RedisGuard

_INLINE_BYTES = 128 * 1024
"""Larger bodies are compressed in a thread, because 100 KB takes about 1 ms."""


class AnsweredRound(msgspec.Struct, frozen=True, array_like=True):
    """An answer of the provider in a turn: its digest, the model's message, and the usage."""

    digest: bytes
    said: bytes = b""
    usage: dict[str, object] | None = None


class TurnState(msgspec.Struct, frozen=True, array_like=True):
    """A turn's state that the response half needs; ``shape`` names the provider's format.

    ``rounds`` are the answers so far, ``finished`` means that the last one ended the turn, and
    ``messages`` is the number of messages in the request.
    """

    shape: str
    model: str
    obligations: tuple[str, ...]
    messages: int
    rounds: tuple[AnsweredRound, ...] = ()
    finished: bool = False


class Kept(NamedTuple):
    """A turn as stored in Redis. ``body`` is the next request to the provider; empty if none."""

    version: int
    turn: TurnState
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(TurnState).decode


class TurnStore:
    """Stores turns. Every method raises ``Degraded`` if Redis does not answer in time."""

    def __init__(self, settings: Settings, state: RedisGuard) -> None:
        self._state = state
        self._ttl = settings.turn_ttl_seconds
        self._advance = state.client.register_script(script("advance_turn"))

    async def open(
        self, user: str, turn_id: str, turn: TurnState, body: bytes, deadline: Deadline
    ) -> None:
        """Store a new turn of ``user`` (a tag); the oldest beyond the limit are dropped."""
        redis = self._state.client
        key, listed = keys.turn(user, turn_id), keys.turns(user)
        fields = {"version": 0, "state": _encode(turn)}
        if body:
            fields["body"] = await _packed(body)
        pipe = redis.pipeline(transaction=False)
        pipe.hset(key, mapping=fields)
        pipe.expire(key, self._ttl)
        pipe.lpush(listed, turn_id)
        pipe.expire(listed, self._ttl)
        pipe.lrange(listed, keys.TURNS_MAX, -1)
        pipe.ltrim(listed, 0, keys.TURNS_MAX - 1)
        *_, beyond, _ = await self._state.ask(pipe.execute(), deadline, user)
        if beyond:
            gone = [keys.turn(user, one.decode()) for one in beyond]
            await self._state.ask(redis.unlink(*gone), deadline, user)

    async def load(self, user: str, turn_id: str, deadline: Deadline) -> Kept | None:
        """Return the turn; None if ``user`` has no turn with this id."""
        asked = self._state.client.hmget(keys.turn(user, turn_id), ["version", "state", "body"])
        version, state, body = await self._state.ask(asked, deadline, user)
        if version is None or state is None:
            return None
        try:
            turn = _decode(state)
        except msgspec.MsgspecError:  # written by another version
            return None
        return Kept(int(version), turn, await _unpacked(body) if body else b"")

    async def advance(
        self, user: str, turn_id: str, kept: Kept, turn: TurnState, body: bytes, deadline: Deadline
    ) -> bool:
        """Replace ``kept`` by ``turn``; return False if another answer has replaced it first."""
        packed = await _packed(body) if body else b"-"
        done = self._advance(
            keys=[keys.turn(user, turn_id)],
            args=[kept.version, _encode(turn), packed, self._ttl],
        )
        return bool(await self._state.ask(done, deadline, user) == 1)


async def _packed(body: bytes) -> bytes:
    if len(body) <= _INLINE_BYTES:
        return zlib.compress(body, 1)
    return await asyncio.to_thread(zlib.compress, body, 1)


async def _unpacked(packed: bytes) -> bytes:
    if len(packed) <= _INLINE_BYTES:
        return zlib.decompress(packed)
    return await asyncio.to_thread(zlib.decompress, packed)
