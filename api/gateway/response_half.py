"""The response half of a turn: the provider's answer ends it or needs another request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from shared import keys
from shared.deadline import Deadline
from shared.errors import (
    Conflict,
    InvalidField,
    UnknownTurn,
)
from shared.settings import Settings

from ..provider.billed_usage import add_usage
from ..provider.body import Unreadable
from ..provider.provider_interface import MAX_ROUNDS, Retrieval, ToolResult
from ..provider.provider_interface import Turn as Said
from ..runtime.turn_store import AnsweredRound, Kept, TurnState, TurnStore
from .gateway_request import SHAPES
from .request_half import REDRIVE

Retrieve = Callable[[Retrieval], Awaitable[ToolResult]]
"""Returns the result of a retrieval call; its text gives the reason if there is no original."""
_OK = range(200, 300)
_MOST_CALLS = 32
_RESULT_CHARS = 4 * 1024 * 1024
"""Once the results of an answer's calls exceed this size, further calls get no original. Models
cannot read as much."""
_NOT_HERE = '{"error":"unknown: no marker in this conversation has this hash"}'
_TOO_MUCH = '{"error":"too much at once: ask for fewer originals"}'
_SAID_BYTES = 4 * 1024 * 1024
"""Maximum size of a model's message stored with a turn; no model's answer is that long."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """The gateway's report: raw JSON of the answer (empty: none), its HTTP status, its usage.

    ``round`` is the number of the turn's request that was answered, from 0; None: the last one.
    """

    response: bytes
    status: int
    usage: dict[str, Any] | None
    round: int | None


@dataclass(frozen=True, slots=True)
class Billed:
    """Usage of one round of a turn, to be recorded; it counts once per ``name``."""

    name: str
    model: str
    usage: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SecondHalf:
    """The reply to the gateway, and the usage to record."""

    fields: dict[str, Any]
    billed: Billed | None = None


class ResponseHalf:
    """Advances turns. Idempotent: an answer that is sent again gets the same reply."""

    def __init__(self, settings: Settings, store: TurnStore) -> None:
        self._store = store
        self._ttl = settings.turn_ttl_seconds

    async def take(
        self,
        user: str,
        turn_id: str,
        answer: ProviderAnswer,
        retrieve: Retrieve,
        deadline: Deadline,
    ) -> SecondHalf:
        """Advance the turn by the provider's answer; return what the gateway must do next.

        Raises:
            UnknownTurn: ``user`` has no such turn, or it has expired.
            InvalidField: The answer is missing, or belongs to a round that has not started.
            Conflict: A different answer to that round was accepted before.
            Degraded: Redis is unavailable.
        """
        tag = keys.user_tag(user)
        digest = _digest(answer)
        for _ in range(2):  # if another replica was faster, the second pass repeats its reply
            kept = await self._store.load(tag, turn_id, deadline)
            if kept is None:
                raise UnknownTurn(self._gone(turn_id))
            again = _again(turn_id, kept, answer, digest)
            if again is not None:
                return again
            step = await _step(turn_id, kept, answer, digest, retrieve)
            if await self._store.advance(tag, turn_id, kept, step.turn, step.body, deadline):
                return SecondHalf(step.fields, _billed(turn_id, step.turn))
        raise Conflict(f"turn {turn_id} is being advanced by another answer")

    def _gone(self, turn_id: str) -> str:
        return (
            f"this user has no turn {turn_id}, or it expired: a turn is kept for {self._ttl} s "
            "after its last request"
        )


@dataclass(frozen=True, slots=True)
class _Step:
    turn: TurnState
    body: bytes
    fields: dict[str, Any]


def _digest(answer: ProviderAnswer) -> bytes:
    named = b"%d\0%b" % (answer.status, answer.response)
    return blake2b(named, digest_size=16).digest()


def _again(turn_id: str, kept: Kept, answer: ProviderAnswer, digest: bytes) -> SecondHalf | None:
    """Return the last reply if ``answer`` is the one it was for; None if ``answer`` is new."""
    turn = kept.turn
    waits_for = len(turn.rounds)
    last = turn.rounds[-1] if turn.rounds else None
    of = waits_for if answer.round is None else answer.round
    repeats = last is not None and last.digest == digest
    if repeats and (answer.round is None or of == waits_for - 1):
        fields = _done(turn_id, turn, answer) if turn.finished else _redrive(turn_id, kept)
        return SecondHalf(fields, _billed(turn_id, turn))  # recording it again has no effect
    if turn.finished:
        raise Conflict(f"turn {turn_id} is finished, and its last answer was a different one")
    if of > waits_for:
        raise InvalidField(f"'round' is {of}, but the turn waits for round {waits_for}")
    if of < waits_for:
        if of == waits_for - 1:
            return SecondHalf(_redrive(turn_id, kept))
        raise Conflict(f"round {of} was answered before; the turn waits for round {waits_for}")
    return None


async def _step(
    turn_id: str, kept: Kept, answer: ProviderAnswer, digest: bytes, retrieve: Retrieve
) -> _Step:
    """Advance the turn by one step: to its end, or to the next request to the provider."""
    turn = kept.turn
    redrives = REDRIVE in turn.obligations
    if redrives and not answer.response and answer.status in _OK:
        raise InvalidField("'response' is required: this turn has the obligation 'redrive'")
    said = _read(turn, answer) if redrives else None
    usage = answer.usage or (said.usage if said is not None else None)
    follows = (
        said is not None
        and said.next_step == "follow_up"
        and len(turn.rounds) < MAX_ROUNDS
        and len(said.said) <= _SAID_BYTES
        and bool(kept.body)
    )
    taken = AnsweredRound(digest, said.said if said is not None and follows else b"", usage)
    after = msgspec.structs.replace(turn, rounds=(*turn.rounds, taken), finished=not follows)
    if said is None or not follows:
        return _Step(after, b"", _done(turn_id, after, answer))
    results = await _results(kept.body, said.retrievals, retrieve)
    last = len(after.rounds) == MAX_ROUNDS
    body = SHAPES[turn.shape].follow_up(kept.body, said, results, last=last)
    return _Step(after, body, _redrive(turn_id, Kept(kept.version, after, body)))


async def _results(body: bytes, calls: Sequence[Retrieval], retrieve: Retrieve) -> list[ToolResult]:
    """Return the calls' results; their total size is bounded, as one answer can repeat a call.

    Only originals of markers in ``body`` are retrieved: the gateway gets back what it has sent,
    and needs no permission to read the user's other originals.
    """
    results: list[ToolResult] = []
    left = _RESULT_CHARS
    for number, call in enumerate(calls):
        if number >= _MOST_CALLS or left <= 0:
            results.append(ToolResult(call.id, _TOO_MUCH, failed=True))
            continue
        if not call.hash or call.hash.lower().encode() not in body:
            results.append(ToolResult(call.id, _NOT_HERE, failed=True))
            continue
        result = await retrieve(call)
        left -= len(result.text)
        results.append(result)
    return results


def _read(turn: TurnState, answer: ProviderAnswer) -> Said | None:
    """Return the model's message; None if the answer is an error or cannot be read."""
    if answer.status not in _OK:
        return None
    try:
        return SHAPES[turn.shape].read(answer.response)
    except Unreadable:
        return None


def _redrive(turn_id: str, kept: Kept) -> dict[str, Any]:
    return {
        "action": "redrive",
        "turn_id": turn_id,
        "request": msgspec.Raw(kept.body),
        "round": len(kept.turn.rounds),
    }


def _done(turn_id: str, turn: TurnState, answer: ProviderAnswer) -> dict[str, Any]:
    usages = [one.usage for one in turn.rounds if one.usage is not None]
    return {
        "action": "done",
        "turn_id": turn_id,
        "response": _merged(turn, answer),
        "frozen_message_count": turn.messages,
        "usage_applied": bool(usages),
        "rounds": len(turn.rounds) - 1,
        "billed_usage": _sum(usages) if usages else None,
    }


def _merged(turn: TurnState, answer: ProviderAnswer) -> msgspec.Raw | None:
    """Return the answer for the client; None if that is the provider's answer, unchanged."""
    said = _read(turn, answer) if REDRIVE in turn.obligations else None
    if said is None:
        return None
    before = [Said(one.said, (), 0, True, one.usage) for one in turn.rounds[:-1]]
    if not before and not said.retrievals:
        return None
    try:
        return msgspec.Raw(SHAPES[turn.shape].merge(answer.response, before))
    except Unreadable:
        return None


def _sum(usages: list[dict[str, Any]]) -> dict[str, int]:
    """Return the usage of all rounds by Anthropic's names, as headroom does."""
    total = add_usage(usages)
    found: dict[str, int] = {}
    names = {
        "input_tokens": ("input_tokens", "prompt_tokens"),
        "output_tokens": ("output_tokens", "completion_tokens"),
        "cache_read_input_tokens": ("cache_read_input_tokens", "cached_tokens"),
        "cache_creation_input_tokens": ("cache_creation_input_tokens",),
    }
    details = total.get("prompt_tokens_details") or total.get("input_tokens_details")
    if isinstance(details, dict):
        total = {"cached_tokens": details.get("cached_tokens"), **total}
    for name, given in names.items():
        value = next((total[one] for one in given if isinstance(total.get(one), int)), None)
        if value is not None:
            found[name] = value
    return found


def _billed(turn_id: str, turn: TurnState) -> Billed | None:
    last = turn.rounds[-1]
    if last.usage is None:
        return None
    return Billed(f"{turn_id}:{len(turn.rounds)}", turn.model, last.usage)
