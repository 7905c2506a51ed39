"""Bodies as byte ranges, sums of usage, sessions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.provider.billed_usage import add_usage
from api.provider.body import Body, Unreadable, array_of, array_pieces, array_with
from api.provider.session import session_of

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
_NAMES = st.sampled_from(["messages", "tools", "x", 'q"\\', "ä", "stream"])


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_NAMES, _VALUES), st.sampled_from([None, 2]), st.booleans())
def test_replaces_a_field_and_no_other_byte(
    fields: dict[str, Any], indent: int | None, plain: bool
) -> None:
    raw = json.dumps(fields, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    try:
        body = Body(raw)
    except Unreadable:
        assert b"\xed" in raw or b"\\ud" in raw  # lone surrogates are not JSON to the decoder
        return
    assert {name: json.loads(body.field(name)) for name in fields} == fields
    for name in [*fields, "new"]:
        changed = body.replaced({name: b'["put"]'})
        assert json.loads(changed) == {**fields, name: ["put"]}
        assert body.replaced({name: array_pieces([b'"put"'])}) == changed
        if name in fields:
            start = raw.index(body.field(name))
            assert changed[:1] == raw[:1]
            assert len(changed) == len(raw) - len(body.field(name)) + 7
            assert changed.count(b'["put"]') >= 1
            assert start >= 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(_VALUES, min_size=1, max_size=5),
    st.dictionaries(st.sampled_from(["a", "tools", "zz"]), _VALUES),
    st.dictionaries(st.sampled_from(["b", "system", "stream"]), _VALUES),
    st.data(),
)
def test_items_read_before_change_no_field(
    items: list[Any], before: dict[str, Any], after: dict[str, Any], data: Any
) -> None:
    raw = json.dumps({**before, "messages": items, **after}).encode()
    try:
        whole = Body(raw)
    except Unreadable:  # a lone surrogate
        return
    count = data.draw(st.integers(1, len(items)))
    start = raw.index(whole.field("messages")) + 1
    end = start + len(json.dumps(items[:count])) - 2
    again = Body(raw, (start, end))
    for name in [*before, "messages", *after, "none"]:
        assert again.field(name) == whole.field(name)


@pytest.mark.parametrize("rest", [b"", b"]", b",{]}", b'],"messages":[]}', b"]}x"])
def test_refuses_wrong_bytes_after_items_read_before(rest: bytes) -> None:
    with pytest.raises(Unreadable):
        Body(b'{"messages":[{},{}' + rest, (13, 18))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'"messages"',
        b'{"messages": [',
        b'{"messages": []}x',
        b'{"messages": [], "messages": [1]}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": NaN}',
        b"{" + b",".join(b'"%d":0' % i for i in range(300)) + b"}",
        b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"metadata":[' + b",".join([b"[]"] * 60_000) + b"]}",
    ],
)
def test_refuses_what_it_cannot_take_apart(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        Body(raw)


def test_takes_large_messages_apart_at_once() -> None:
    messages = b"[" + b",".join([b'{"role":"user","content":[]}'] * 60_000) + b"]"
    body = Body(b'{"model":"m","messages": ' + messages + b', "stream":true}')
    assert body.field("messages") == messages
    assert body.field("stream") == b"true"


def test_finds_array_despite_equal_text_in_field() -> None:
    body = Body(b'{"note":"[1]","tools":[1],"x":[1],"messages":[1]}')
    assert (
        body.replaced({"messages": b"[2]"}) == b'{"note":"[1]","tools":[1],"x":[1],"messages":[2]}'
    )


def test_items_of_something_else_are_refused() -> None:
    body = Body(b'{"tools":{"a":1},"messages":null}')
    assert body.items("messages") == []
    assert body.items("input") == []
    with pytest.raises(Unreadable):
        body.items("tools")


@pytest.mark.parametrize(
    ("raw", "first"),
    [
        (b"[]", b""),
        (b"[ \n ]", b""),
        (b"null", b""),
        (b'[ {"a":"]"} , 2]', b'{"a":"]"}'),
        (b'["x,]\\"",1]', b'"x,]\\""'),
        (b"[1 ,2]", b"1"),
        (b"[" + b"[" + b"[]," * 60_000 + b"1],2]", b"[" + b"[]," * 60_000 + b"1]"),
    ],
)
def test_leading_items_are_found_as_received(raw: bytes, first: bytes) -> None:
    body = Body(b'{"messages":%b}' % raw)
    assert next(body.leading_items("messages", 1), b"") == first
    for most in range(5):
        assert list(body.leading_items("messages", most)) == body.items("messages")[:most]


@given(st.text(st.sampled_from('\\"ab'), max_size=60))
def test_strings_end_where_json_ends_them(text: str) -> None:
    written = json.dumps(text).encode()
    body = Body(b'{"messages":[%b,"\\\\",%b]}' % (written, written))
    assert list(body.leading_items("messages", 9)) == [written, b'"\\\\"', written]


@pytest.mark.parametrize("text", ['"' * 3000, "\\" * 99, '\\"' * 2000, "a" * 99_999 + '"'])
def test_ends_of_odd_strings_are_found(text: str) -> None:
    written = json.dumps(text).encode()
    assert list(Body(b'{"input":[%b,1]}' % written).leading_items("input", 2)) == [written, b"1"]


def test_appends_to_lists_however_they_are_written() -> None:
    assert array_with(b"[]", b"1") == b"[1]"
    assert array_with(b"[ \n]", b"1", b"2") == b"[ \n1,2]"
    assert array_with(b"[1 ]", b"2") == b"[1 ,2]"
    assert array_with(b"[1]") == b"[1]"


def test_sums_usage_of_two_answers() -> None:
    first = {"input_tokens": 3, "cache": {"a": 1, "b": None}, "tier": "x", "steps": [1]}
    second = {"input_tokens": 4, "cache": {"a": 2, "b": 5}, "tier": "y", "steps": [2], "new": 1}
    assert add_usage([first, None, second]) == {
        "input_tokens": 7,
        "cache": {"a": 3, "b": 5},
        "tier": "y",
        "steps": [1, 2],
        "new": 1,
    }


@pytest.mark.parametrize(
    ("headers", "body", "session"),
    [
        ({"x-headroom-session-id": "a", "session-id": "b"}, {}, "a"),
        ({"x-claude-code-session-id": "c"}, {"prompt_cache_key": "d"}, "c"),
        ({"session-id": "b"}, {}, "b"),
        ({}, {"prompt_cache_key": "d", "metadata": {"user_id": "e"}}, "d"),
        ({}, {"metadata": {"user_id": '{"device_id":"x","session_id":"s"}'}}, "s"),
        ({}, {"metadata": {"user_id": "user_1_account_2_session_3"}}, "3"),
        ({}, {"metadata": {"user_id": "{broken"}}, "{broken"),
        ({}, {"metadata": {"user_id": 7}, "prompt_cache_key": 8}, ""),
        ({}, {"metadata": []}, ""),
    ],
)
def test_session_is_the_first_that_is_named(
    headers: dict[str, str], body: dict[str, Any], session: str
) -> None:
    assert session_of(headers.get, Body(json.dumps(body).encode())) == session


def test_long_session_names_become_digests() -> None:
    names = ["s" * 257, "s" * 258]
    found = {session_of({"session-id": name}.get, Body(b"{}")) for name in names}
    assert len(found) == 2
    assert all(len(name) == 32 for name in found)


@pytest.mark.parametrize("items", [[], [b"1"], [b"1", b"[]", b"{}"]])
def test_pieces_of_a_list_are_the_list(items: list[bytes]) -> None:
    assert b"".join(array_pieces(items)) == array_of(items)
    for raw in (b"{}", b'{"a":0}'):
        body = Body(raw)
        fields: dict[str, bytes | list[bytes]] = {"b": array_pieces(items), "c": b"2"}
        expected = {**json.loads(raw), "b": json.loads(array_of(items)), "c": 2}
        assert json.loads(body.replaced(fields)) == expected
