"""A changed message: the new text is inserted, every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.pipeline.conversation import Change, Sent
from api.pipeline.message import Place, count, digest, read
from api.pipeline.render import join, render
from api.provider.cache_marks import without_marks
from shared.errors import Degraded
from shared.headroom import counter_for

COUNTER = counter_for("claude-x")
LONG = "a long tool output " * 50
WHOLE = Place(None, None)


def _render(raw: bytes, *changes: Change, sent: Sent | None = None) -> Any:
    plain, marks = without_marks(raw)
    facts, message = read(raw, digest(plain))
    count(facts, message, COUNTER)
    sent = sent or Sent(tuple(changes), ("t",))
    render(facts, sent, raw, marks, COUNTER)
    return sent


def _string(text: str) -> Change:
    return Change(WHOLE, "string", text)


def _result(text: str, block: int = 0, part: int | None = None) -> Change:
    return Change(Place(block, part), "tool_result", text)


def test_numbers_unknown_fields_and_their_order_stay() -> None:
    raw = (
        b'{"z":1.50,"role":"tool","big":12345678901234567890123,"e":1e5,"n":null,'
        b'"content":"' + LONG.encode() + b'","tool_call_id":"a\\u0062","x":{"b": [1.0 , 2]}}'
    )
    assert _render(raw, _string("short")).data == (
        b'{"z":1.50,"role":"tool","big":12345678901234567890123,"e":1e5,"n":null,'
        b'"content":"short","tool_call_id":"a\\u0062","x":{"b": [1.0 , 2]}}'
    )


def test_parses_only_the_changed_block() -> None:
    other = b'{"type": "image", "source": {"n": 1.0}}'
    block = b'{"type":"tool_result","tool_use_id":"a","content":"' + LONG.encode() + b'","k":0.10}'
    raw = b'{"role":"user","content":[' + other + b" , " + block + b"]}"
    done = _render(raw, _result("short", block=1))
    assert other in done.data
    assert done.data.endswith(b'"content":"short","k":0.10}]}')


def test_parts_of_a_result_stay_parts() -> None:
    image = {"type": "image", "source": {"n": 1}}
    parts = [
        {"type": "text", "text": LONG, "a": 1},
        image,
        {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}},
    ]
    raw = json.dumps({"role": "user", "content": [{"type": "tool_result", "content": parts}]})
    done = _render(raw.encode(), _result("one", part=0), _result("two", part=2))
    assert json.loads(done.data)["content"][0]["content"] == [
        {"type": "text", "text": "one", "a": 1},
        image,
        {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}},
    ]


def test_several_blocks_change_in_one_message() -> None:
    blocks = [{"type": "tool_result", "tool_use_id": i, "content": LONG} for i in "abc"]
    raw = json.dumps({"role": "user", "content": blocks}).encode()
    done = _render(raw, _result("first", block=0), _result("last", block=2))
    contents = [b["content"] for b in json.loads(done.data)["content"]]
    assert contents == ["first", LONG, "last"]


def test_text_block_changes_its_text() -> None:
    raw = json.dumps({"role": "tool", "content": [{"type": "text", "text": LONG}]}).encode()
    done = _render(raw, Change(Place(0, None), "text", "short"))
    assert json.loads(done.data)["content"] == [{"type": "text", "text": "short"}]


def test_response_items_keep_their_own_fields() -> None:
    raw = json.dumps({"type": "function_call_output", "call_id": "a", "output": LONG}).encode()
    done = _render(raw, _string("short"))
    assert json.loads(done.data) == {
        "type": "function_call_output",
        "call_id": "a",
        "output": "short",
    }


def test_unchanged_message_is_its_own_bytes() -> None:
    raw = json.dumps({"role": "tool", "content": LONG}).encode()
    done = _render(raw)
    assert done.data is None
    assert done.transforms == ("t",)
    assert done.tokens > 100


def test_unchanged_message_is_counted_again() -> None:
    raw = json.dumps({"role": "tool", "content": LONG}).encode()
    done = _render(raw, sent=Sent(tokens=5))  # an estimate, from before it was read
    assert done.tokens > 100


def test_writes_cache_marks_of_current_request() -> None:
    def raw(mark: str) -> bytes:
        block = '{"type":"tool_result","tool_use_id":"a","content":"' + LONG + '"' + mark + "}"
        return ('{"role":"user","content":[' + block + "]}").encode()

    marked = raw(',"cache_control":{"type":"ephemeral"}')
    sent = _render(marked, _result("short"))
    assert b'"cache_control":{"type":"ephemeral"}' in sent.data
    plain = _render(raw(""), sent=sent).data
    assert plain == b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"a",' + (
        b'"content":"short"}]}'
    )
    assert _render(marked, sent=sent).data == plain.replace(
        b'"short"', b'"short","cache_control":{"type":"ephemeral"}'
    )


def test_message_that_would_grow_stays_original() -> None:
    raw = json.dumps({"role": "tool", "content": "short"}).encode()
    sent = Sent((_string(LONG),), ("t",), {"ab" * 6: WHOLE}, ("x",), keys=("k",))
    done = _render(raw, sent=sent)
    assert (done.data, done.changes, done.shown, done.engines, done.keys) == (None, (), {}, (), ())
    assert done.transforms == ("farm:verbatim:grew",)
    assert _render(raw, sent=sent).data is None


def test_lone_surrogate_stays_original() -> None:
    raw = b'{"role":"tool","content":"' + LONG.encode() + b'\\ud800"}'
    done = _render(raw, _string("short"))
    assert done.data is None
    assert done.transforms == ("farm:verbatim:unreadable",)


def test_counts_tokens_of_the_answer() -> None:
    raw = json.dumps({"role": "tool", "content": LONG}).encode()
    assert _render(raw, _string("short")).tokens == COUNTER.message(
        {"role": "tool", "content": "short"}
    )


def test_unchanged_messages_are_one_body_slice() -> None:
    body = b'{"messages":[{"a":1}, {"b":2} ,{"c":3},{"d":4}]}'
    spans = [(13, 20), (22, 29), (31, 38), (39, 46)]
    changed = Sent(data=b"new")
    pieces, count_changed = join(body, spans, [Sent(), Sent(), changed, Sent()])
    assert pieces == [b'{"a":1}, {"b":2}', b"new", b'{"d":4}']
    assert count_changed == 1
    with pytest.raises(Degraded):
        join(body, spans, [Sent()])
