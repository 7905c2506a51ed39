"""A defect of ours costs a user nothing but his savings."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from api.pipeline.compressor import Compressor
from api.pipeline.dispatch import Fetched, Order, Origin
from api.pipeline.offload import HEAVY_BODY_BYTES
from api.runtime.admission import Admission
from api.runtime.bypass import BypassSwitch
from shared.deadline import Deadline
from shared.errors import Degraded, InvalidField
from shared.jobs import Form
from shared.settings import Settings
from shared.upstream import counter_for

ROWS = json.dumps([{"id": i, "name": f"row {i}", "ok": i % 7 > 0} for i in range(120)])
MESSAGES = [
    {"role": "user", "content": "hello"},
    {"role": "tool", "tool_call_id": "a", "content": ROWS},
]
BODY = json.dumps({"messages": MESSAGES, "model": "claude-x"}).encode()


class Elsewhere:
    """Stands for Redis and the pools: what they hold, and what they do with a block."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.done: list[str] = []

    async def fetch(self, order: Order, wanted: Any, make: Any, deadline: Deadline) -> Fetched:
        if self.broken:
            return Fetched(reasons={"redis"})
        self.done += [block.key for block in await make(list(wanted))]
        return Fetched({key: Form("short", ("t",), outcome="compressed") for key in wanted})

    async def keep(self, *arguments: Any) -> None:
        return None

    def note(self, *arguments: Any) -> None:
        return None


def _compressor(elsewhere: Elsewhere) -> Compressor:
    switch = BypassSwitch(Settings(), elsewhere)  # type: ignore[arg-type, unused-ignore]
    return Compressor(Settings(), elsewhere, elsewhere, elsewhere, switch)  # type: ignore[arg-type, call-arg, unused-ignore]


def _compress(compressor: Compressor, body: bytes = BODY, seconds: float = 5.0) -> Any:
    return asyncio.run(compressor.compress("u", body, Deadline.after(seconds), Origin("id")))


def _messages(answer: Any) -> Any:
    return json.loads(b"[" + b",".join(answer.pieces) + b"]")


def test_a_turn_with_nothing_new_asks_nobody() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    first = _compress(compressor)
    assert len(elsewhere.done) == 1
    again = _compress(compressor)
    assert len(elsewhere.done) == 1
    assert again.pieces == first.pieces
    assert again.tokens_saved == first.tokens_saved > 0
    assert (again.cache_hits, again.cache_misses) == (1, 0)


def test_each_turn_decodes_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    from api.pipeline import context as turn
    from api.pipeline import message_reader as module

    compressor = _compressor(Elsewhere())
    _compress(compressor)
    read: list[bytes] = []
    real_read, real_decode = module.read, turn.decode
    monkeypatch.setattr(module, "read", lambda raw, name: read.append(raw) or real_read(raw, name))
    monkeypatch.setattr(turn, "decode", lambda raw: read.append(raw) or real_decode(raw))
    longer = [*MESSAGES, {"role": "user", "content": "and now"}]
    _compress(compressor, json.dumps({"messages": longer, "model": "claude-x"}).encode())
    assert [json.loads(raw) for raw in read] == longer[2:]


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A library that a model's counter waits for, until this is set."""
    loaded = threading.Event()

    def choose(model: str) -> Any:
        assert loaded.wait(20)
        return counter_for(model)

    monkeypatch.setattr("api.runtime.token_counters.counter_for", choose)
    yield loaded
    loaded.set()


def test_nobody_waits_for_the_library_that_anothers_model_is_counted_with(
    loading: threading.Event,
) -> None:
    compressor = _compressor(Elsewhere())
    counter_for("claude-x")

    async def play() -> tuple[Any, Any]:
        body = BODY.replace(b"claude-x", f"new-{secrets.token_hex(4)}".encode())
        waits = asyncio.create_task(
            compressor.compress("u", body, Deadline.after(20), Origin("slow"))
        )
        await asyncio.sleep(0)
        other = await compressor.compress("v", BODY, Deadline.after(20), Origin("id"))
        assert not waits.done()
        loading.set()
        return other, await waits

    for answer in asyncio.run(play()):
        assert answer.degraded == []
        assert answer.tokens_saved > 0


@pytest.mark.parametrize(("refused", "reason"), [(False, "deadline"), (True, "overload")])
def test_a_library_that_loads_too_long_costs_the_savings_alone(
    monkeypatch: pytest.MonkeyPatch, loading: threading.Event, refused: bool, reason: str
) -> None:
    compressor = _compressor(Elsewhere())
    if refused:
        room = compressor.room
        monkeypatch.setattr(room, "enter", lambda user, _, until: Admission(room, user, 0, until))
    body = BODY.replace(b"claude-x", f"new-{secrets.token_hex(4)}".encode())
    answer = _compress(compressor, body, seconds=0.05)
    assert answer.degraded == [reason]
    assert _messages(answer) == MESSAGES


def test_a_heavy_message_that_is_read_aside_takes_no_room_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compressor = _compressor(Elsewhere())
    heavy = [{"role": "tool", "tool_call_id": "a", "content": f"{n} {ROWS * 150}"} for n in "abc"]
    attack = json.dumps({"messages": heavy, "model": "claude-x"}).encode()
    assert 2_500_000 < len(attack) < HEAVY_BODY_BYTES

    async def play() -> tuple[Any, Any]:
        begun, over = asyncio.Event(), asyncio.Event()

        async def read(*arguments: Any) -> None:
            begun.set()
            await over.wait()
            raise Degraded("large")

        monkeypatch.setattr(compressor.aside, "read", read)
        attacked = asyncio.create_task(
            compressor.compress("attacker", attack, Deadline.after(60), Origin("id"))
        )
        await begun.wait()
        honest = await compressor.compress("u", BODY, Deadline.after(2), Origin("id"))
        over.set()
        return honest, await attacked

    honest, attacked = asyncio.run(play())
    assert honest.degraded == []
    assert honest.tokens_saved > 0
    assert "large" in attacked.degraded
    assert compressor.room._at_hand == 0


@pytest.mark.parametrize("step", ["_reading.turn", "_plan", "_fill", "_assemble", "_render"])
def test_whatever_breaks_inside_the_original_goes_through(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    compressor = _compressor(Elsewhere())

    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("a defect")

    *owner, name = step.split(".")
    monkeypatch.setattr(getattr(compressor, owner[0]) if owner else compressor, name, broken)
    answer = _compress(compressor)
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["internal"]
    assert answer.tokens_saved == 0


def test_the_callers_mistake_stays_his() -> None:
    compressor = _compressor(Elsewhere())
    with pytest.raises(InvalidField):
        _compress(compressor, b'{"messages":[5]}')


def test_without_redis_what_is_unknown_stays_and_is_asked_for_again() -> None:
    elsewhere = Elsewhere(broken=True)
    compressor = _compressor(elsewhere)
    answer = _compress(compressor)
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["redis"]
    elsewhere.broken = False
    assert _compress(compressor).tokens_saved > 0


def test_planning_stops_at_the_deadline() -> None:
    compressor = _compressor(Elsewhere())
    answer = _compress(compressor, seconds=0.0)
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["deadline"]
    assert _compress(compressor).tokens_saved > 0


def test_without_room_what_is_known_stays_small_and_what_is_new_is_read_next_turn() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    first = _compress(compressor)
    other = {"role": "tool", "tool_call_id": "b", "content": ROWS.replace("row", "line")}
    longer = [*MESSAGES, {"role": "user", "content": "and now"}, other]
    body = json.dumps({"messages": longer, "model": "claude-x"}).encode()

    async def crowded() -> Any:
        place = compressor.room.enter("others", 1 << 30, Deadline.after(5))
        answer = await compressor.compress("u", body, Deadline.after(5), Origin("id"))
        place.leave()
        return answer

    answer = asyncio.run(crowded())
    assert answer.degraded == ["overload"]
    assert "farm:verbatim:overload" in answer.transforms
    assert _messages(answer)[:2] == _messages(first)
    assert _messages(answer)[2:] == longer[2:]
    assert (answer.messages, answer.changed, answer.cache_hits) == (4, 1, 1)
    assert answer.tokens_saved > 0
    assert len(elsewhere.done) == 1
    again = _compress(compressor, body)
    assert again.degraded == []
    assert _messages(again)[:2] == _messages(first)
    assert len(elsewhere.done) == 2
    assert again.changed == 2


def test_a_new_conversation_without_room_goes_through_in_any_model() -> None:
    compressor = _compressor(Elsewhere())
    _compress(compressor)
    other = BODY.replace(b"claude-x", b"gpt-4o")  # the tokens of known messages are not known

    async def crowded() -> Any:
        compressor.room.enter("others", 1 << 30, Deadline.after(5))
        return await compressor.compress("u", other, Deadline.after(5), Origin("id"))

    answer = asyncio.run(crowded())
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["overload"]
    assert answer.tokens_before == answer.tokens_after > 0


def test_a_stale_read_whose_original_cannot_be_stored_stays() -> None:
    class NoStore(Elsewhere):
        async def keep(self, *arguments: Any) -> None:
            raise Degraded("redis")

    def made(name: str, identity: str) -> dict[str, Any]:
        use = {"type": "tool_use", "id": identity, "name": name, "input": {"file_path": "/a"}}
        return {"role": "assistant", "content": [use]}

    def got(text: str, identity: str) -> dict[str, Any]:
        part = {"type": "tool_result", "tool_use_id": identity, "content": text}
        return {"role": "user", "content": [part]}

    messages = [made("Read", "r"), got("a line\n" * 200, "r"), made("Edit", "e"), got("ok", "e")]
    body = json.dumps({"messages": messages}).encode()
    compressor = _compressor(NoStore())
    answer = _compress(compressor, body)
    assert _messages(answer) == messages
    assert answer.hashes == []
    kept = _compressor(Elsewhere())
    answer = _compress(kept, body)
    assert "Read content stale" in answer.pieces[1].decode()
    assert len(answer.hashes) == 1
