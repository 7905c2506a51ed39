"""A changed message: the new text in its place, every other byte of a value as it came."""

from __future__ import annotations

import json
from typing import Any

from api.pipeline.message import Candidate, Plan, Replacement, count, digest, read
from api.pipeline.render import join, render
from shared.jobs import Form
from shared.upstream import counter_for

COUNTER = counter_for("claude-x")
LONG = "a long tool output " * 50


def _render(raw: bytes, plan: Plan, *forms: Form | None) -> Any:
    facts, message = read(raw, digest(raw))
    count(facts, message, COUNTER)
    return render(facts, plan, raw, forms, COUNTER)


def _candidate(index: int | None, shape: Any = "tool_result", parts: bool = False) -> Candidate:
    return Candidate("key", index, parts, shape, "user", None, "cpu", ("router:excluded:tool",))


def test_numbers_unknown_fields_and_their_order_stay() -> None:
    raw = (
        b'{"z":1.50,"role":"tool","big":12345678901234567890123,"e":1e5,"n":null,'
        b'"content":"' + LONG.encode() + b'","tool_call_id":"a\\u0062","x":{"b": [1.0 , 2]}}'
    )
    done = _render(raw, Plan((_candidate(None, "string"),)), Form("short", ("t",)))
    assert done.data == (
        b'{"z":1.50,"role":"tool","big":12345678901234567890123,"e":1e5,"n":null,'
        b'"content":"short","tool_call_id":"a\\u0062","x":{"b": [1.0 , 2]}}'
    )
    assert done.transforms == ("t",)


def test_only_the_block_that_changed_is_opened() -> None:
    other = b'{"type": "image", "source": {"n": 1.0}}'
    block = b'{"type":"tool_result","tool_use_id":"a","content":"' + LONG.encode() + b'","k":0.10}'
    raw = b'{"role":"user","content":[' + other + b" , " + block + b"]}"
    done = _render(raw, Plan((_candidate(1),)), Form("short"))
    assert other in done.data
    assert done.data.endswith(b'"content":"short","k":0.10}]}')


def test_a_list_of_parts_stays_a_list_of_parts() -> None:
    block = {"type": "tool_result", "content": [{"type": "text", "text": LONG}]}
    raw = json.dumps({"role": "user", "content": [block]}).encode()
    done = _render(raw, Plan((_candidate(0, parts=True),)), Form("short"))
    parts = json.loads(done.data)["content"][0]["content"]
    assert parts == [{"type": "text", "text": "short"}]


def test_without_a_form_or_with_an_unchanged_one_the_message_is_its_own_bytes() -> None:
    raw = json.dumps({"role": "tool", "content": LONG}).encode()
    for form in (None, Form(None)):
        done = _render(raw, Plan((_candidate(None, "string"),)), form)
        assert done.data is None
        assert done.transforms == ("router:excluded:tool",)


def test_a_message_that_grew_is_dropped_for_its_original() -> None:
    raw = json.dumps({"role": "tool", "content": "short"}).encode()
    done = _render(raw, Plan((_candidate(None, "string"),)), Form(LONG, ("t",), ("ab" * 6,)))
    assert done.data is None
    assert done.shown == ()
    assert done.transforms == ("farm:verbatim:grew",)


def test_hashes_and_tokens_come_along() -> None:
    raw = json.dumps({"role": "tool", "content": LONG}).encode()
    plan = Plan(
        replacements=(Replacement(None, False, "string", "gone: hash=abc"),), originals=("abc",)
    )
    done = _render(raw, plan)
    assert done.shown == done.stored == ("abc",)
    assert done.tokens < len(LONG) / 3.5


def test_unchanged_runs_are_one_slice_of_the_body() -> None:
    body = b'{"messages":[{"a":1}, {"b":2} ,{"c":3},{"d":4}]}'
    spans = [(13, 20), (22, 29), (31, 38), (39, 46)]
    plain = _render(b'{"role":"user"}', Plan())
    raw = json.dumps({"role": "tool", "content": LONG}).encode()
    changed = _render(raw, Plan((_candidate(None, "string"),)), Form("x"))
    pieces, count_changed = join(body, spans, [plain, plain, changed, plain])
    assert pieces == [b'{"a":1}, {"b":2}', changed.data, b'{"d":4}']
    assert count_changed == 1
