"""Encoding of exchanges, for storing them between the requests of a session."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .provider_interface import Exchange, Round, ToolResult, Turn

_NOT_SHOWN = (
    "This original is too large to stay in the conversation. To read it, call headroom_retrieve "
    "again, without other calls."
)
_exchange = msgspec.json.Decoder(Exchange)


def pack(exchange: Exchange) -> bytes:
    """Return the exchange as bytes."""
    return msgspec.json.encode(exchange)


def unpack(packed: Sequence[bytes]) -> list[Exchange]:
    """Return the exchanges in these bytes, except those written by an incompatible version."""
    found = []
    for one in packed:
        try:
            found.append(_exchange.decode(one))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def without_originals(exchange: Exchange) -> Exchange:
    """Return the exchange with results that say that their originals are too large to be kept."""
    rounds = [
        Round(one.said, tuple(ToolResult(r.id, _NOT_SHOWN, failed=True) for r in one.results))
        for one in exchange.rounds
    ]
    return msgspec.structs.replace(exchange, rounds=tuple(rounds))


def exchange_of(
    at: int,
    turns: Sequence[Turn],
    results: Sequence[tuple[ToolResult, ...]],
    answer: tuple[str, ...],
    beginning: str = "",
) -> Exchange | None:
    """Return the exchange to store for a client's turn; None if nothing was retrieved in it.

    ``turns`` are its answers in order, ``results`` the results of each answer's retrieval calls;
    ``answer`` are the last answer's marks, ``beginning`` identifies the conversation.
    """
    if not turns or not results:
        return None
    rounds = [
        Round(msgspec.Raw(turn.said), found) for turn, found in zip(turns, results, strict=False)
    ]
    last = turns[-1]
    return Exchange(
        at=at,
        rounds=tuple(rounds),
        mixed=last.next_step == "mixed",
        answer=answer,
        id=turns[0].id,
        last_id=last.id,
        beginning=beginning,
    )
