"""Turns without a server: detection of formats, limits, and Redis unavailable at every step."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api.gateway.gateway_request import gateway_request
from api.gateway.request_half import RequestHalf
from api.gateway.response_half import ProviderAnswer, ResponseHalf, SecondHalf
from api.pipeline.compression_result import CompressionResult
from api.provider.provider_interface import Retrieval, ToolResult
from api.runtime.turn_store import Kept, TurnState
from shared.deadline import Deadline
from shared.errors import Conflict, Degraded, InvalidField, UnknownTurn
from shared.settings import Settings

from ..turns import SHAPES, asks, says, tool_names, turn_request

MOST = 1 << 20
DIGEST = "a" * 24


class Store:
    """A stand-in for Redis: stores one turn, or is unavailable."""

    def __init__(self, *, away: bool = False, rival: Kept | None = None) -> None:
        self.away = away
        self.rival = rival
        self.kept: Kept | None = None

    async def open(
        self, user: str, turn_id: str, turn: TurnState, body: bytes, deadline: Deadline
    ) -> None:
        if self.away:
            raise Degraded("redis")
        self.kept = Kept(0, turn, body)

    async def load(self, user: str, turn_id: str, deadline: Deadline) -> Kept | None:
        if self.away:
            raise Degraded("redis")
        return self.kept

    async def advance(
        self, user: str, turn_id: str, kept: Kept, turn: TurnState, body: bytes, deadline: Deadline
    ) -> bool:
        if self.rival is not None:
            self.kept, self.rival = self.rival, None
            return False
        self.kept = Kept(kept.version + 1, turn, body)
        return True


def _result(**changes: Any) -> CompressionResult:
    given: dict[str, Any] = {
        "pieces": [b'{"role":"user","content":"hash=%b"}' % DIGEST.encode()],
        "messages": 1,
        "changed": 1,
        "tokens_before": 2,
        "tokens_after": 1,
        "transforms": [],
        "hashes": [DIGEST],
        "model": "m",
        "degraded": [],
        "mode": "ccr",
    }
    return CompressionResult(**{**given, **changes})


def _open(store: Store, request: dict[str, Any], result: CompressionResult | None = None) -> Any:
    found = gateway_request(json.dumps(request).encode(), MOST)
    assert found is not None
    half = RequestHalf(store)  # type: ignore[arg-type, unused-ignore]
    made = asyncio.run(half.open("u", found, result or _result(), Deadline.after(60)))
    return made, json.loads(bytes(made.fields["body"]))


def _take(store: Store, response: Any, texts: int = 10, **given: Any) -> SecondHalf:
    async def retrieve(call: Retrieval) -> ToolResult:
        return ToolResult(call.id, "x" * texts)

    half = ResponseHalf(Settings(), store)  # type: ignore[arg-type, unused-ignore]
    raw = json.dumps(response).encode() if response is not None else b""
    answer = ProviderAnswer(raw, given.get("status", 200), given.get("usage"), given.get("round"))
    return asyncio.run(half.take("u", "t", answer, retrieve, Deadline.after(60)))


def _shape(**body: Any) -> str:
    found = gateway_request(json.dumps({"gateway": {}, **body}).encode(), MOST)
    assert found is not None
    return found.shape


def test_detects_format_from_the_body() -> None:
    for shape in SHAPES:
        assert _shape(**turn_request(shape, "x")) == shape
    chat = {"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]}
    assert _shape(**chat, model="claude-sonnet-4") == "openai"
    said = [{"role": "user", "content": "hello"}]
    assert _shape(messages=said, model="anthropic/claude-x") == "anthropic"
    assert _shape(messages=said, model="gpt-5") == _shape(messages=said) == "openai"
    assert _shape(messages=said, system="be brief") == "anthropic"
    assert _shape(input=said, model="claude-x") == "openai_responses"


@pytest.mark.parametrize(
    "raw",
    [b"{}", b'{"messages": ["gateway"]}', b'{"messages": [{"gateway": {}}]}', b'["gateway"]', b'"'],
)
def test_body_without_gateway_field_is_not_a_gateways(raw: bytes) -> None:
    assert gateway_request(raw, MOST) is None


@pytest.mark.parametrize(
    "raw", [b'{"gateway":{},"messages":[M]}', b'{"messages":[M],"gateway":{}}']
)
def test_gateway_field_is_found_around_known_messages(raw: bytes) -> None:
    start, message = raw.index(b"M"), json.dumps({"role": "user", "content": "hello"}).encode()
    found = gateway_request(raw.replace(b"M", message), MOST, (start, start + len(message)))
    assert found is not None


def test_large_request_is_not_kept() -> None:
    raw = json.dumps(turn_request("openai", "x")).encode()
    small, large = gateway_request(raw, len(raw)), gateway_request(raw, len(raw) - 1)
    assert small is not None
    assert large is not None
    assert (small.redrives, large.redrives) == (True, False)
    assert not large.redeems


@pytest.mark.parametrize(
    ("more", "redrives"), [({}, True), ({"store": True}, True), ({"conversation": "c"}, False)]
)
def test_stored_conversation_gets_no_retrieval(more: dict[str, Any], redrives: bool) -> None:
    raw = json.dumps(turn_request("openai_responses", "x", **more)).encode()
    found = gateway_request(raw, MOST)
    assert found is not None
    assert found.redrives is redrives


def test_farm_fields_never_reach_the_provider() -> None:
    request = turn_request("openai", "x", config={"mode": "ccr"}, token_budget=9, session_id="s")
    request |= {"protect_recent": 1, "mode": "ccr", "target_ratio": 0.5, "model_limit": 9}
    _, body = _open(Store(), request)
    assert set(body) == {"model", "messages", "tools", "temperature"}


@pytest.mark.parametrize("shape", SHAPES)
def test_tool_is_offered_once(shape: str) -> None:
    request = turn_request(shape, "x")
    _, body = _open(Store(), request, _result(changed=0))
    assert tool_names(body).count("headroom_retrieve") == 1
    again, body = _open(Store(), {**body, "gateway": request["gateway"]}, _result(changed=0))
    assert tool_names(body).count("headroom_retrieve") == 1
    assert again.fields["obligations"] == ["redrive", "relay_usage"]


def test_unstored_turn_has_no_obligations() -> None:
    made, body = _open(Store(away=True), turn_request("openai", "x"))
    assert made.fields["obligations"] == []
    assert made.degraded == ("redis",)
    assert tool_names(body) == ["shell"]


@pytest.mark.parametrize(
    ("reason", "owed"),
    [("bypass", []), ("empty", []), ("control", ["relay_usage"]), ("audit", ["relay_usage"])],
)
def test_usage_of_unchanged_conversation_is_relayed(reason: str, owed: list[str]) -> None:
    left = _result(mode="", reason=reason, hashes=[], changed=0)
    made, body = _open(Store(), turn_request("openai", "x"), left)
    assert made.fields["obligations"] == owed
    assert tool_names(body) == ["shell"]


def test_answer_without_redis_raises_degraded() -> None:
    store = Store()
    _open(store, turn_request("openai", "x"))
    store.away = True
    with pytest.raises(Degraded):
        _take(store, says("openai", "ok"))


def test_slower_of_two_answers_gets_same_reply() -> None:
    store = Store()
    _open(store, turn_request("openai", "x"))
    before = store.kept
    first = _take(store, asks("openai", DIGEST))
    store.rival, store.kept = store.kept, before
    second = _take(store, asks("openai", DIGEST))
    assert second.fields == first.fields
    assert second.billed == first.billed


def test_faster_different_answer_is_a_conflict() -> None:
    store = Store()
    _open(store, turn_request("openai", "x"))
    before = store.kept
    _take(store, says("openai", "one"))
    store.rival, store.kept = store.kept, before
    with pytest.raises(Conflict):
        _take(store, says("openai", "two"))


@pytest.mark.parametrize(("calls", "chars"), [(100, 10), (20, 1 << 20)])
def test_many_retrievals_stay_bounded(calls: int, chars: int) -> None:
    store = Store()
    _open(store, turn_request("anthropic", "x"))
    answer = asks("anthropic", DIGEST)
    answer["content"] = [
        {
            "type": "tool_use",
            "id": f"r{n}",
            "name": "headroom_retrieve",
            "input": {"hash": DIGEST},
        }
        for n in range(calls)
    ]
    fields = _take(store, answer, chars).fields
    results = json.loads(bytes(fields["request"]))["messages"][-1]["content"]
    assert len(results) == calls, "each call has its result"
    assert "too much at once" in results[-1]["content"]
    assert len(bytes(fields["request"])) < 6 << 20


def test_only_markers_of_the_conversation_are_served() -> None:
    store = Store()
    _open(store, turn_request("openai", "x"))
    fields = _take(store, asks("openai", "b" * 24)).fields
    told = json.loads(bytes(fields["request"]))["messages"][-1]
    assert "unknown" in told["content"]
    # Markers within a retrieved original count as well from then on.
    assert _take(store, asks("openai", DIGEST, 1)).fields["action"] == "redrive"


@pytest.mark.parametrize(
    "response", [{}, {"content": 7}, {"content": [7]}, {"choices": {}}, {"error": {"a": 1}}]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_unreadable_answer_ends_the_turn(shape: str, response: Any) -> None:
    store = Store()
    _open(store, turn_request(shape, "x"))
    fields = _take(store, response).fields
    assert (fields["action"], fields["response"]) == ("done", None)


def test_missing_turn_is_unknown() -> None:
    with pytest.raises(UnknownTurn):
        _take(Store(), says("openai", "ok"))


def test_missing_answer_leaves_the_turn_pending() -> None:
    store = Store()
    _open(store, turn_request("openai", "x"))
    with pytest.raises(InvalidField):
        _take(store, None)
    assert store.kept is not None
    assert not store.kept.turn.finished
