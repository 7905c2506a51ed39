"""Encoding of exchanges, for storing them between the requests of a session."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .protocol import Exchange, Round, ToolResult, Turn

_exchange = msgspec.json.Decoder(Exchange)


def pack(exchange: Exchange) -> bytes:
    """Return the exchange as bytes."""
    return msgspec.json.encode(exchange)


def unpack(packed: Sequence[bytes]) -> list[Exchange]:
    """Return the exchanges in these bytes; what another version wrote is left out."""
    found = []
    for one in packed:
        try:
            found.append(_exchange.decode(one))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def exchange_of(
    at: int,
    turns: Sequence[Turn],
    results: Sequence[tuple[ToolResult, ...]],
    answer: tuple[str, ...],
) -> Exchange | None:
    """Return what to keep of a client's turn, None where nothing was retrieved in it.

    ``turns`` are its answers in order, ``results`` those of each answer's retrievals; ``answer``
    are the last one's marks.
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
    )
