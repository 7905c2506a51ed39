"""Splitting a body: the fast, the full and the lenient parser give the same slices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.pipeline import split_body
from api.pipeline.message import Message, Seen, chained, digest
from api.pipeline.split_body import Split, Trail, follow, split
from shared.errors import Degraded, InvalidField, MalformedBody

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_message = st.dictionaries(st.text(max_size=8), _json, max_size=4)
_gap = st.sampled_from(["", " ", "\n", "\t ", "\r\n  "])


def _facts(raw: bytes) -> Message:
    return Message(digest(raw), len(raw), "user", {}, (), "", None, {})


def _trail(taken: Split) -> Trail:
    seen: list[Seen] = []
    for index in range(len(taken.spans)):
        facts = _facts(_slice(taken, index))
        chain = chained(seen[-1].chain if seen else b"", facts.digest)
        seen.append(Seen(facts, chain, b""))
    return Trail(taken.body[: taken.spans[-1][1]], taken.head, seen, taken.spans)


def _slice(taken: Split, index: int) -> bytes:
    start, end = taken.spans[index]
    return taken.body[start:end]


@st.composite
def _bodies(draw: Any) -> tuple[list[bytes], bytes, bytes, list[str]]:
    messages = [
        json.dumps(m, ensure_ascii=draw(st.booleans())).encode()
        for m in draw(st.lists(_message, min_size=1, max_size=6))
    ]
    head = draw(st.sampled_from([b"{", b'{"model": "m[x", ', b'\n{ "a" : [ {} ] , ']))
    tail = draw(st.sampled_from([b"}", b', "model":"x"}', b' , "z": [1,[2]] }\n']))
    gaps = [draw(_gap) for _ in range(2 * len(messages))]
    return messages, head, tail, gaps


def _write(messages: list[bytes], head: bytes, tail: bytes, gaps: list[str]) -> bytes:
    inner = b",".join(
        gaps[2 * i].encode() + m + gaps[2 * i + 1].encode() for i, m in enumerate(messages)
    )
    return head + b'"messages":[' + inner + b"]" + tail


@given(_bodies(), st.data())
def test_slices_equal_messages_with_and_without_trail(
    made: tuple[list[bytes], bytes, bytes, list[str]], data: Any
) -> None:
    messages, head, tail, gaps = made
    whole = split(_write(messages, head, tail, gaps), [])
    assert [_slice(whole, i) for i in range(len(messages))] == messages
    assert whole.rest == messages

    known = data.draw(st.integers(1, len(messages)))
    before = split(_write(messages[:known], head, b"}", gaps), [])
    again = split(_write(messages, head, tail, gaps), [_trail(before)])
    assert [_slice(again, i) for i in range(len(messages))] == messages
    assert again.rest == messages[len(again.known) :]
    named = [seen.facts.digest for seen in again.known]
    assert named == [digest(m) for m in messages[: len(again.known)]]
    # The memory is useless only if the bytes before the first message differ.
    assert len(again.known) == known


@given(_bodies(), st.data())
def test_trail_helps_up_to_the_first_difference(
    made: tuple[list[bytes], bytes, bytes, list[str]], data: Any
) -> None:
    messages, head, tail, gaps = made
    before = split(_write(messages, head, b"}", gaps), [])
    at = data.draw(st.integers(0, len(messages) - 1))
    changed = [*messages[:at], b'{"changed":true}', *messages[at + 1 :]]
    again = split(_write(changed, head, tail, gaps), [_trail(before)])
    assert [_slice(again, i) for i in range(len(changed))] == changed
    assert len(again.known) >= at
    assert [seen.facts.digest for seen in again.known] == [
        digest(m) for m in changed[: len(again.known)]
    ]


def test_longest_trail_is_followed_first() -> None:
    first = split(b'{"messages":[{"a":1}]}', [])
    second = split(b'{"messages":[{"a":1},{"b":2}]}', [])
    third = split(b'{"messages":[{"a":1},{"b":2},{"c":3}]}', [_trail(first), _trail(second)])
    assert len(third.known) == 2


def test_only_as_much_news_as_asked_for_is_followed() -> None:
    trail = _trail(split(b'{"messages":[{"a":1}]}', []))
    body = b'{"messages":[{"a":1},{"b":2}]}'
    news = len(body) - len(trail.prefix)
    assert follow(body, [trail], news) is not None
    assert follow(body, [trail], news - 1) is None


def test_growing_conversation_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_body, "MAX_MESSAGES", 2)
    trail = _trail(split(b'{"messages":[{"a":1}]}', []))
    assert len(split(b'{"messages":[{"a":1},{"b":2}]}', [trail]).spans) == 2
    with pytest.raises(Degraded):
        split(b'{"messages":[{"a":1},{"b":2},{"c":3}]}', [trail])


@pytest.mark.parametrize(
    "rest",
    [
        b"x]}",
        b",]}",
        b',{"b":2}',
        b"]",
        b'],"model":}',
        b"} ]}",
    ],
)
def test_rejects_broken_rest_after_known_start(rest: bytes) -> None:
    trail = _trail(split(b'{"messages":[{"a":1}]}', []))
    with pytest.raises(MalformedBody):
        split(b'{"messages":[{"a":1}' + rest, [trail])


def test_last_of_two_messages_arrays_counts() -> None:
    trail = _trail(split(b'{"messages":[{"a":1}]}', []))
    body = b'{"messages":[{"a":1}],"messages":[{"b":2}]}'
    assert split(body, [trail]).rest == [b'{"b":2}']
    assert split(body, []).rest == [b'{"b":2}']


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'"text"', b"[]", b"1", b"\xff{}"])
def test_rejects_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        split(body, [])


@pytest.mark.parametrize("messages", ["null", "{}", '"x"', "1"])
def test_rejects_messages_that_are_no_list(messages: str) -> None:
    with pytest.raises(InvalidField):
        split(f'{{"messages":{messages}}}'.encode(), [])
    with pytest.raises(InvalidField):
        split(b'{"model":"x"}', [])


def test_rejects_body_nested_too_deeply() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    with pytest.raises(MalformedBody):
        split(b'{"messages":' + deep + b"}", [])


@pytest.mark.parametrize("value", [r'"\ud800"', "NaN", "1e400"])
def test_keeps_values_only_standard_library_reads(value: str) -> None:
    body = f'{{"messages":[{{"role":"user","content":{value}}}],"model":{value}}}'.encode()
    taken = split(body, [])
    assert len(taken.spans) == 1
    assert repr(json.loads(_slice(taken, 0))) == repr(json.loads(body)["messages"][0])


def test_response_items_are_the_conversation() -> None:
    taken = split(b'{"model":"m","input":[{"a":1},{"b":2}]}', [])
    assert (taken.envelope.array, taken.rest) == ("input", [b'{"a":1}', b'{"b":2}'])
    again = split(b'{"model":"m","input":[{"a":1},{"b":2},{"c":3}]}', [_trail(taken)])
    assert (again.envelope.array, again.rest) == ("input", [b'{"c":3}'])
    both = split(b'{"input":[{"a":1}],"messages":[{"b":2}]}', [])
    assert (both.envelope.array, both.rest) == ("messages", [b'{"b":2}'])


@pytest.mark.parametrize(
    ("tools", "redeems"),
    [
        (b"", None),
        (b'"tools":[],', False),
        (b'"tools":[{"name":"Bash"}],', False),
        (b'"tools":[{"name":"headroom_retrieve"}],', True),
        (b'"tools":[{"function":{"name":"mcp__headroom__headroom_retrieve"}}],', True),
    ],
)
def test_request_with_retrieval_tool_redeems_markers(tools: bytes, redeems: bool | None) -> None:
    assert split(b"{" + tools + b'"messages":[]}', []).envelope.redeems is redeems


@pytest.mark.parametrize(
    ("field", "forgets"),
    [
        (b"", False),
        (b'"context_management":null,', False),
        (b'"context_management":{"edits":[]},', False),
        (b'"context_management":{"edits":[{"type":"clear_thinking_20251015"}]},', False),
        (b'"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]},', True),
        (b'"context_management":{"edits":[{"type":"compact_20260112"}]},', True),
        (b'"context_management":{"edits":["odd"]},', True),
        (b'"context_management":[{"type":"compaction","compact_threshold":200000}],', True),
        (b'"context_management":"odd",', False),
        (b'"context_management":{"edits":[{"type":"x' + b"y" * 70_000 + b'"}]},', True),
        (b'"truncation":"disabled",', False),
        (b'"truncation":"auto",', True),
    ],
)
def test_request_lets_provider_forget_earlier_outputs(field: bytes, forgets: bool) -> None:
    assert split(b"{" + field + b'"messages":[]}', []).envelope.forgets is forgets
    lone = split(b"{" + field + b'"messages":[{"content":"\\ud800"}]}', [])
    assert lone.envelope.forgets is forgets
