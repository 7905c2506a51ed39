"""The options with which a conversation's earlier messages were decided, shared by all replicas.

Options may change between the requests of a conversation: a budget shrinks, or a caller declares
more messages frozen. Sent messages must stay as they were sent, so each request records in Redis
the options with which its new messages are decided, for replicas that must decide them again.
"""

from __future__ import annotations

import contextlib
from dataclasses import astuple, fields
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from shared.errors import Degraded
from shared.settings import Settings

from ..runtime.user_store import UserStore
from .message import Plan
from .plan_message import MIN_CHARS
from .plan_options import PlanOptions
from .request_context import RequestContext
from .session_identity import session_digest

AS_IT_CAME = Plan()
"""The plan of a frozen message, which the provider received unchanged."""
_NAMES = tuple(field.name for field in fields(PlanOptions))[1:]
"""The recorded options: all except the marker mode, which is part of a conversation's identity."""
_encode = msgspec.msgpack.Encoder().encode


class _Noted(NamedTuple):
    """The options with which an earlier request's new messages were decided."""

    frozen: int
    options: PlanOptions


class EarlierRequests:
    """Records requests, and reads those of the same conversation unknown to this process."""

    def __init__(self, store: UserStore, settings: Settings) -> None:
        self._state = store
        self._settings = settings

    async def recall(self, turn: RequestContext) -> None:
        """Read the options with which messages unknown to this process were decided before.

        Fills ``turn.earlier``, ``turn.as_came``, ``turn.replayed`` and ``turn.left``.
        """
        first, options = turn.known, turn.options
        turn.replayed = first
        if _is_worth(turn):
            current = options.plan_options(self._settings)
            with contextlib.suppress(Degraded):  # at worst an earlier text changes
                noted, turn.left = await self._state.recall(
                    turn.session.tag,
                    _conversation(turn, audit=options.arm == "audit"),
                    (turn.chains[-1], _pack(options.frozen_message_count, current)),
                    turn.chains[first:],
                    [
                        turn.chains[index]
                        for index in range(first, len(turn.messages))
                        if turn.plans[index].candidates
                    ],
                    turn.deadline,
                )
                _take(turn, noted)
        vouched = min(options.frozen_message_count, len(turn.messages))
        turn.as_came.update(range(turn.replayed, vouched))

    async def note_as_came(self, turn: RequestContext) -> None:
        """Record that all messages of a conversation were sent unchanged.

        They then stay unchanged even if a replica compresses later messages of the conversation.
        """
        options = turn.options.plan_options(self._settings)
        own = (turn.chains[-1], _pack(len(turn.messages), options))
        name, tag = _conversation(turn, audit=False), turn.session.tag
        with contextlib.suppress(Degraded):  # at worst an earlier text changes once
            await self._state.recall(tag, name, own, turn.chains[-1:], [], turn.deadline)


def _take(turn: RequestContext, noted: list[bytes | None]) -> None:
    """Use the records of earlier requests, from the first unknown message on."""
    for index, packed in enumerate(noted, turn.known):
        one = _unpack(packed, turn.options.mode) if packed is not None else None
        if one is None:
            continue
        turn.earlier.append((index + 1, one.options))
        turn.as_came.update(range(turn.replayed, min(index + 1, one.frozen)))
        turn.replayed = index + 1


def _is_worth(turn: RequestContext) -> bool:
    """Return whether any of the unknown messages could be decided in more than one way."""
    options = turn.options
    if turn.known == len(turn.messages):
        return False
    varies = options.session_id or options.frozen_message_count or options.limit
    return bool(varies) or any(m.size >= MIN_CHARS for m in turn.messages[turn.known :])


def _conversation(turn: RequestContext, *, audit: bool) -> bytes:
    """Return the name of the conversation under this marker mode, the same in all its requests.

    The messages that an ``audit`` would have sent have a name of their own.
    """
    name = session_digest(turn.session.user, turn.options.session_id, turn.split)
    kind = turn.options.mode + ("\0audit" if audit else "")
    return blake2b(name + kind.encode(), digest_size=16).digest()


def _pack(frozen: int, options: PlanOptions) -> bytes:
    return _encode([frozen, *astuple(options)[1:]])


def _unpack(packed: bytes, mode: str) -> _Noted | None:
    """Read the record of a request; None if another version of the farm wrote it."""
    try:
        frozen, *values = msgspec.msgpack.decode(packed, type=list[int | float | bool | str | None])
        given = {"marker_mode": mode, **dict(zip(_NAMES, values, strict=True))}
        return _Noted(msgspec.convert(frozen, int), msgspec.convert(given, PlanOptions))
    except (msgspec.MsgspecError, ValueError):
        return None
