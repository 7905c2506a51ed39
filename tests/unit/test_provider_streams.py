"""Streams that hold back retrieval calls: what passes, what is renumbered, what is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.provider import sse, usage_in_stream
from api.provider.sse import Framer, data_of, with_data
from api.provider.stream_chat import ChatStream
from api.provider.stream_messages import MessagesStream
from api.provider.stream_responses import ResponsesStream
from api.provider.usage_in_stream import UsageTap
from shared.errors import BrokenCoding

from ..proxy.saying import APIS, Anthropic, Chat, Responses

STREAMS: dict[Any, Any] = {
    Anthropic: MessagesStream,
    Chat: ChatStream,
    Responses: ResponsesStream,
}
every_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.__name__)
THINK, TEXT, END = ("think", "Hm."), ("text", "Let me look at it."), ("text", "It is done.")
GET, GET2 = ("get", "r1", "a1b2c3d4e5f6"), ("get", "r2", "0a1b2c3d4e5f")
OWN, OWN2 = ("own", "c1"), ("own", "c2")


def seen(raw: bytes) -> list[Any]:
    """Return the data of the events in ``raw``."""
    framer = Framer()
    found = [data_of(event) for event in framer.feed(raw)]
    assert not framer.rest
    return [json.loads(data) for data in found if data not in (b"", b"[DONE]")]


def run(api: Any, *rounds: tuple[Any, ...]) -> tuple[Any, bytes]:
    """Feed the streams of the rounds to one view; return it and what the client got."""
    view = STREAMS[api]()
    out = b""
    for number, parts in enumerate(rounds):
        if number:
            assert view.state == "follow_up"
            view.next_round(last=False)
        for event in api.events(*parts):
            out += view.feed(event)
        view.end()
    return view, out


@every_api
@pytest.mark.parametrize("parts", [(TEXT,), (THINK, TEXT, OWN, OWN2), (OWN,)])
def test_stream_without_retrieval_passes_unchanged(api: Any, parts: Any) -> None:
    view, out = run(api, parts)
    assert out == b"".join(api.events(*parts))
    assert view.state == "over"
    assert len(view.turns) == 1


@every_api
@pytest.mark.parametrize("first", [(GET,), (THINK, TEXT, GET), (GET, GET2), (TEXT, GET, TEXT)])
@pytest.mark.parametrize("second", [(END,), (THINK, END, OWN, OWN2)])
def test_two_rounds_are_one_answer(api: Any, first: Any, second: Any) -> None:
    view, out = run(api, first, second)
    assert view.state == "over"
    assert b"headroom_retrieve" not in out
    visible = [part for part in first if part[0] != "get"]
    assert told(api, out) == told(api, b"".join(api.events(*visible, *second)))


def told(api: Any, raw: bytes) -> Any:
    """Return what a client reads of a stream, without ids and usage, and how texts were cut."""
    events = [event for event in seen(raw) if event.get("type") != "ping"]
    for event in events:
        for inner in (event, event.get("response") or {}, event.get("message") or {}):
            inner.pop("usage", None)
            inner.pop("id", None)
    if api is not Chat:
        return events
    choices = [choice for event in events for choice in event["choices"]]
    texts = [choice["delta"].get("content") or "" for choice in choices]
    calls = [choice["delta"].get("tool_calls") for choice in choices]
    roles = [choice["delta"]["role"] for choice in choices if "role" in choice["delta"]]
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    return "".join(texts), [call for call in calls if call], roles, ends


@every_api
def test_usage_of_the_rounds_is_summed(api: Any) -> None:
    view, out = run(api, (GET,), (GET,), (END,))
    tap = UsageTap(stream=True)
    tap.feed(out)
    usage = tap.close()
    assert all(turn.usage for turn in view.turns)
    names = ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens")
    assert [usage[name] for name in names if name in usage] == [300, 30]
    if api is Anthropic:
        assert [one["input_tokens"] for one in usage["iterations"]] == [100, 100, 100]


@every_api
def test_mixed_answer_ends_with_the_clients_calls(api: Any) -> None:
    view, out = run(api, (TEXT, GET, OWN, GET2, OWN2))
    assert view.state == "over"
    assert view.turns[-1].next_step == "mixed"
    assert [r.id for r in view.turns[-1].retrievals] == ["r1", "r2"]
    assert told(api, out) == told(api, b"".join(api.events(TEXT, OWN, OWN2)))


@every_api
def test_assembled_stream_equals_the_plain_answer(api: Any) -> None:
    parts = (THINK, TEXT, GET)
    view, _ = run(api, parts)
    said = json.loads(view.turns[0].said)
    body = json.loads(b"".join(p for p in api.plain(*parts).pieces if isinstance(p, bytes)))
    if api is Chat:
        expected = body["choices"][0]["message"]
        del expected["refusal"]
    else:
        expected = body["content" if api is Anthropic else "output"]
    assert said == expected


@every_api
def test_last_round_ends_despite_another_call(api: Any) -> None:
    view = STREAMS[api]()
    for event in api.events(GET):
        view.feed(event)
    view.next_round(last=True)
    out = b"".join([view.feed(event) for event in api.events(TEXT, GET)])
    assert view.state == "over"
    assert b"headroom_retrieve" not in out
    if api is Anthropic:
        assert b'"stop_reason":"end_turn"' in out
    if api is Chat:
        assert b'"finish_reason":"stop"' in out


def test_answer_cut_by_a_limit_is_not_continued() -> None:
    view = MessagesStream()
    out = b"".join([view.feed(e) for e in Anthropic.events(TEXT, GET, stop="max_tokens")])
    assert view.state == "over"
    assert seen(out)[-2]["delta"]["stop_reason"] == "max_tokens"
    assert b"headroom_retrieve" not in out


@every_api
@pytest.mark.parametrize(
    "event",
    [
        b": comment\n\n",
        b"\n\n",
        b"data: nonsense\n\n",
        b"data: 5\n\n",
        b'event: x\ndata: {"type": "unknown_event", "new": 1}\n\n',
        b'data: {"type": "content_block_start", "index": "x", "content_block": 5}\n\n',
        b'data: {"type": "content_block_delta", "index": 99, "delta": {"type": "y"}}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [5]}}]}\n\n',
        b'data: {"choices": 5, "type": "response.completed", "response": 5}\n\n',
        b'data: {"type": "response.output_item.added", "output_index": 0, "item": null}\n\n',
    ],
)
def test_odd_events_pass(api: Any, event: bytes) -> None:
    view = STREAMS[api]()
    out = view.feed(event)
    assert out == event or (api is Chat and b"tool_calls" in event)


@every_api
def test_errors_end_the_answer(api: Any) -> None:
    event = b'event: error\ndata: {"type": "error", "error": {"message": "overloaded"}}\n\n'
    view = STREAMS[api]()
    assert view.feed(event) == event
    assert view.state == "over"


def test_chat_without_done_is_continued() -> None:
    view = ChatStream()
    for event in Chat.events(GET)[:-1]:
        view.feed(event)
    view.end()
    assert view.state == "follow_up"


def with_repeats(events: list[bytes], names: tuple[str, ...]) -> list[bytes]:
    """Repeat these fields of a call in each of its pieces, as some servers do."""
    seen: dict[int, dict[str, Any]] = {}
    repeated = []
    for event in events:
        data = json.loads(data_of(event)) if b"tool_calls" in event else {}
        for call in [c for o in data.get("choices", []) for c in o["delta"].get("tool_calls", [])]:
            first = seen.setdefault(call["index"], json.loads(json.dumps(call)))
            call |= {name: first[name] for name in ("id", "type") if name in names}
            if "name" in names:
                call["function"]["name"] = first["function"]["name"]
        repeated.append(with_data(event, data) if data.get("choices") else event)
    return repeated


@pytest.mark.parametrize("names", [("type",), ("id",), ("name",), ("id", "type", "name")])
def test_chat_calls_may_repeat_their_fields(names: tuple[str, ...]) -> None:
    view = ChatStream()
    out = b"".join([view.feed(e) for e in with_repeats(Chat.events(OWN, GET, TEXT), names)])
    assert b"headroom_retrieve" not in out
    turn = view.turns[0]
    assert turn.next_step == "mixed"
    assert (turn.retrievals[0].id, turn.retrievals[0].hash) == ("r1", GET[2])
    assert json.loads(turn.said)["tool_calls"] == Chat.message(OWN, GET)["tool_calls"]


def with_two_changes(events: list[bytes]) -> list[bytes]:
    """Split the change of a message into one with usage and one with the stop reason."""
    found = []
    for event in events:
        data = json.loads(data_of(event))
        if data["type"] == "message_delta":
            nothing = {**data, "delta": {"stop_reason": None, "stop_sequence": None}}
            found.append(with_data(event, nothing))
        found.append(event)
    return found


@pytest.mark.parametrize("parts", [(TEXT,), (OWN,), (THINK, TEXT, OWN)])
def test_several_changes_of_a_message_pass_unchanged(parts: Any) -> None:
    view, events = MessagesStream(), with_two_changes(Anthropic.events(*parts))
    assert [view.feed(event) for event in events] == events
    assert len(view.turns) == 1
    assert (view.turns[0].usage or {})["input_tokens"] == 100


@pytest.mark.parametrize("parts", [(TEXT, GET, OWN), (GET, OWN)])
def test_several_changes_beside_a_retrieval_are_kept(parts: Any) -> None:
    view, events = MessagesStream(), with_two_changes(Anthropic.events(*parts))
    out = b"".join([view.feed(event) for event in events])
    assert [e["type"] for e in seen(out)].count("message_delta") == 2
    assert [turn.next_step for turn in view.turns] == ["mixed"]


def test_several_changes_of_a_message_are_one_round() -> None:
    view = MessagesStream()
    out = b"".join([view.feed(event) for event in with_two_changes(Anthropic.events(TEXT, GET))])
    assert view.state == "follow_up"
    assert len(view.turns) == 1
    view.next_round(last=False)
    out += b"".join([view.feed(event) for event in with_two_changes(Anthropic.events(END))])
    assert view.state == "over"
    assert told(Anthropic, out) == told(Anthropic, b"".join(Anthropic.events(TEXT, END)))
    assert seen(out)[-2]["usage"]["input_tokens"] == 200
    assert [one["input_tokens"] for one in seen(out)[-2]["usage"]["iterations"]] == [100, 100]


def test_message_without_a_last_event_is_continued() -> None:
    view = MessagesStream()
    for event in Anthropic.events(TEXT, GET)[:-1]:
        view.feed(event)
    assert view.end() == b""
    assert view.state == "follow_up"
    view.next_round(last=False)
    begun = b"".join([view.feed(event) for event in Anthropic.events(END)[:-1]])
    assert b"message_delta" not in begun
    assert seen(view.end())[0]["delta"]["stop_reason"] == "end_turn"
    assert view.state == "over"


def test_cut_message_is_not_continued() -> None:
    view = MessagesStream()
    for event in Anthropic.events(TEXT, GET)[:-2]:
        view.feed(event)
    assert view.end() == b""
    assert view.state == "open"


def with_input(identity: str, text: str, *parts: Any) -> list[bytes]:
    """Stream this text as a call's input, as fine-grained streaming does."""
    found = []
    at = [part[1] for part in parts].index(identity)
    for event in Anthropic.events(*parts):
        data = json.loads(data_of(event))
        if data.get("index") == at and data["type"] == "content_block_delta":
            if not data["delta"]["partial_json"]:
                continue
            event, text = (
                with_data(event, {**data, "delta": {**data["delta"], "partial_json": text}}),
                "",
            )
        found.append(event)
    return found


INVALID = ['{"hash": "a1b2', '"a1b2c3d4e5f6"', "[1]", "{'hash': 1}"]


@pytest.mark.parametrize("text", INVALID)
def test_retrieval_with_invalid_input_is_served_as_failed(text: str) -> None:
    view = MessagesStream()
    for event in with_input("r1", text, GET, GET2):
        assert b"headroom_retrieve" not in view.feed(event)
    assert view.state == "follow_up"
    turn = view.turns[0]
    assert [(one.id, one.hash) for one in turn.retrievals] == [("r1", ""), ("r2", GET2[2])]
    assert json.loads(turn.said)[0]["input"] == {"INVALID_JSON": text}
    assert json.loads(turn.said)[1]["input"] == {"hash": GET2[2]}


@pytest.mark.parametrize("text", INVALID)
def test_clients_invalid_input_does_not_lose_the_retrieval(text: str) -> None:
    view, events = MessagesStream(), with_input("c1", text, OWN, GET)
    out = b"".join([view.feed(event) for event in events])
    assert view.turns[0].next_step == "mixed"
    pieces = [e["delta"] for e in seen(out) if e["type"] == "content_block_delta"]
    assert "".join([piece["partial_json"] for piece in pieces]) == text


def test_unreadable_message_does_not_end_with_calls_that_it_does_not_have() -> None:
    view, out = MessagesStream(), b""
    for event in Anthropic.events(TEXT, GET):
        out += view.feed(event.replace(b'"id": "r1"', b'"id": 7'))
    assert view.state == "over"
    assert seen(out)[-2]["delta"]["stop_reason"] == "end_turn"


def test_responses_items_may_stand_in_earlier_events_only() -> None:
    events = Responses.events(THINK, GET)
    completed = json.loads(data_of(events[-1]))
    completed["response"]["output"] = []
    view = ResponsesStream()
    for event in [*events[:-1], with_data(events[-1], completed)]:
        view.feed(event)
    assert view.state == "follow_up"
    assert json.loads(view.turns[0].said) == [Responses.item(THINK), Responses.item(GET)]


def test_responses_items_are_ordered_by_their_index() -> None:
    events = Responses.events(THINK, GET)
    completed = json.loads(data_of(events[-1]))
    completed["response"]["output"] = []
    done = [event for event in events if b"response.output_item.done" in event]
    others = [event for event in events[:-1] if event not in done]
    view = ResponsesStream()
    for event in [*others, *reversed(done), with_data(events[-1], completed)]:
        view.feed(event)
    assert json.loads(view.turns[0].said) == [Responses.item(THINK), Responses.item(GET)]


def test_chat_rounds_have_the_id_of_the_first() -> None:
    view = ChatStream()
    for event in Chat.events(GET):
        view.feed(event)
    view.next_round(last=False)
    second = [event.replace(b"chatcmpl_1", b"chatcmpl_2") for event in Chat.events(END)]
    out = b"".join([view.feed(event) for event in second])
    assert {event["id"] for event in seen(out)} == {"chatcmpl_1"}


def test_framer_gives_a_large_event_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_BYTES", 100)
    raw = b"data: " + b"x" * 250 + b"\n\ndata: y\n\ndata: half"
    framer, found = Framer(), b""
    for at in range(0, len(raw), 40):
        found += b"".join(framer.feed(raw[at : at + 40]))
        assert len(framer.rest) <= 100
    assert found + framer.rest == raw
    assert framer.rest == b"data: half"


def test_tap_reads_no_whole_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_in_stream, "_MOST_BYTES", 100)
    tap = UsageTap(stream=False)
    tap.feed(b'{"usage": {"a": 1}, "x": "' + b"x" * 100)
    assert tap.gave_up
    tap.feed(b'{"usage": {"a": 1}}')
    assert tap.close() == {}


def test_tap_gives_up_where_the_coding_is_broken() -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"usage": '
        raise BrokenCoding("gzip")

    tap = UsageTap(stream=False)
    tap.feed_encoded(pieces())
    assert tap.gave_up


def test_null_in_a_later_event_takes_no_usage_away() -> None:
    tap = UsageTap(stream=True)
    tap.feed(b'data: {"message": {"usage": {"a": 1, "b": 2}}}\n\n')
    tap.feed(b'data: {"usage": {"a": null, "b": 3}}\n\n')
    assert tap.close() == {"a": 1, "b": 3}


@given(st.lists(st.integers(1, 40), max_size=40), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_framer_finds_the_same_events_however_cut(sizes: list[int], newline: bytes) -> None:
    events = [b"event: a\ndata: 1\n\n", b": c\n\n", b"data: x\ndata: y\n\n"]
    raw = b"".join(events).replace(b"\n", newline) + b"data: half"
    framer = Framer()
    found: list[bytes] = []
    for size in sizes:
        found += framer.feed(raw[:size])
        raw = raw[size:]
    found += framer.feed(raw)
    assert [data_of(event) for event in found if data_of(event)] == [b"1", b"x\ny"]
    assert framer.rest == b"data: half"


def test_tap_reads_usage_across_chunks() -> None:
    raw = b"".join(Anthropic.events(TEXT))
    for size in (1, 7, len(raw)):
        tap = UsageTap(stream=True)
        for start in range(0, len(raw), size):
            tap.feed(raw[start : start + size])
        assert tap.close() == {
            "input_tokens": 100,
            "cache_read_input_tokens": 0,
            "output_tokens": 10,
        }
    garbage = UsageTap(stream=True)
    garbage.feed(b'data: {"usage": \n\ndata: {"usage": 5}\n\n\xff"usage"')
    assert garbage.close() == {}
    plain = UsageTap(stream=False)
    plain.feed(b'{"usage": {"a": 1}, "x"')
    plain.feed(b": 2}")
    assert plain.close() == {"a": 1}
