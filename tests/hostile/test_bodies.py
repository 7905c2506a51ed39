"""Broken, misleading and oversized bodies: correct status, nothing enqueued, no restart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..farm import Answer, Farm, post, until, user
from ..texts import conversation, events, openai_ran, ran, rows
from .conftest import enqueued, front_end, resident

DEEP = 100_000
MEGABYTE = 1 << 20


def nested(depth: int, inside: str = "1") -> str:
    return "[" * depth + inside + "]" * depth


def around(message: str, more: str = "") -> bytes:
    return f'{{"messages":[{message}]{more}}}'.encode()


REFUSED: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "null": (b"null", 400),
    "a number": (b"5", 400),
    "a list": (b"[]", 400),
    "half an object": (b'{"messages":[{"role":"user","content":"a', 400),
    "two objects": (b'{"messages":[]}{"messages":[]}', 400),
    "bytes that are not utf-8": (b'{"messages":[{"role":"user","content":"\xff\xfe"}]}', 400),
    "a model that is not utf-8": (b'{"messages":[],"model":"\xff"}', 400),
    "an option that is not utf-8": (b'{"messages":[],"config":{"a":"\xff"}}', 400),
    "an overlong slash": (b'{"messages":[{"role":"user","content":"\xc0\xaf"}]}', 400),
    "a raw NUL": (b'{"messages":[{"role":"user","content":"a\x00b"}]}', 400),
    "a raw newline in a string": (b'{"messages":[{"role":"user","content":"a\nb"}]}', 400),
    "single quotes": (b"{'messages':[]}", 400),
    "a comment": (b'{"messages":[] /* x */}', 400),
    "a trailing comma": (b'{"messages":[],}', 400),
    "a bomb of brackets": (nested(DEEP).encode(), 400),
    "a bomb among the messages": (around(nested(DEEP)), 400),
    "a bomb of objects in a message": (around('{"a":' * DEEP + "1" + "}" * DEEP), 400),
    "a bomb in an unused field": (around("", f',"x":{nested(DEEP)}'), 400),
    "a bomb in config": (around("", f',"config":{nested(DEEP)}'), 400),
    "a large config": (around("", ',"config":{"a":"' + "x" * 70_000 + '"}'), 400),
    "a large model": (around("", ',"model":"' + "x" * 70_000 + '"'), 400),
    "config is a list": (around("", ',"config":[]'), 400),
    "a number as model": (around("", ',"model":5'), 400),
    "an infinite ratio": (around("", ',"target_ratio":1e400'), 400),
    "a huge number as option": (around("", ',"protect_recent":1e308'), 400),
    "a negative number as option": (around("", ',"min_tokens_to_compress":-1'), 400),
    "messages is an object": (b'{"messages":{}}', 400),
    "messages given twice, the last not a list": (b'{"messages":[],"messages":5}', 400),
    "a message is null": (around("null"), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rejects_broken_body_without_side_effects(target: Farm, name: str) -> None:
    body, status = REFUSED[name]
    until("earlier jobs are cleared away", lambda: not enqueued(target))
    answer = target.post(body, user())
    assert answer.status == status, answer.body[:200]
    error = answer.json["error"]
    assert error["type"]
    assert error["message"]
    assert len(answer.body) < 300, "the answer quotes the body"
    assert not enqueued(target)


TAKEN: dict[str, bytes] = {
    "the deepest allowed nesting": around(f'{{"role":"user","content":{nested(200)}}}'),
    "nesting in a tool result": around(
        json.dumps({"role": "tool", "tool_call_id": "a", "content": nested(50_000)})
    ),
    "nesting in arguments": around(
        json.dumps(openai_ran("x")[0]).replace("make a", nested(20_000))
    ),
    "numbers of a thousand digits": around(
        '{"role":"user","content":"a","n":' + "9" * 1000 + ',"f":0.' + "3" * 1000 + "}"
    ),
    "a key twice": around('{"role":"user","role":"user","content":"a","content":"b"}'),
    "an escaped NUL": around('{"role":"user","content":"a\\u0000b"}'),
    "a lone surrogate in every place": around(
        '{"role":"user","content":"\\ud800","\\udfff":"\\ud800"}', ',"model":"\\ud800"'
    ),
    "odd roles": around('{"role":"\\u0000"},{"role":""},{"role":5},{"role":null},{}'),
    "odd contents": around(
        '{"role":"tool","content":5},{"role":"tool","content":[5,null,[],{"type":5}]},'
        '{"role":"assistant","tool_calls":5},{"role":"assistant","tool_calls":[null,5,{}]}'
    ),
    "a thousand empty blocks": around(
        '{"role":"user","content":[' + ",".join(['{"type":"tool_result"}'] * 1000) + "]}"
    ),
    "a byte order mark": b'\xef\xbb\xbf{"messages":[{"role":"user","content":"a"}]}',
    "utf-16": '{"messages":[{"role":"user","content":"a"}]}'.encode("utf-16"),
    "a prototype": around('{"role":"user","content":"a","__proto__":{"x":1},"constructor":{}}'),
}


@pytest.mark.parametrize("name", TAKEN)
def test_odd_json_is_returned_value_for_value(target: Farm, name: str) -> None:
    body = TAKEN[name]
    answer = target.post(body, user())
    assert answer.status == 200, answer.body[:200]
    assert answer.json["degraded"] == []
    assert answer.json["messages"] == json.loads(body)["messages"]


def many(count: int) -> bytes:
    return around(",".join(f'{{"role":"user","content":"{i}"}}' for i in range(count)))


HEAVY: dict[str, Any] = {
    "a hundred thousand messages": lambda: many(100_000),
    "ten million empty messages": lambda: around(",".join(["{}"] * 10_000_000)),
    "a hundred thousand blocks in one message": lambda: around(
        '{"role":"user","content":['
        + ",".join(f'{{"type":"tool_result","content":"{i}"}}' for i in range(100_000))
        + "]}"
    ),
    "ten million empty lists in one message": lambda: around(
        '{"role":"user","content":[' + ",".join(["[]"] * 10_000_000) + "]}"
    ),
    "one string of sixty megabytes": lambda: around(
        '{"role":"tool","tool_call_id":"a","content":"' + "a" * 60 * MEGABYTE + '"}'
    ),
}


@pytest.mark.parametrize("name", HEAVY)
def test_too_heavy_body_is_returned_verbatim(target: Farm, name: str) -> None:
    body = HEAVY[name]()
    serving = front_end(target)
    before = resident(serving)
    answer = target.post(body, user())
    assert answer.status == 200, answer.body[:200]
    assert answer.body.startswith(body[: body.index(b"]")][:1000])
    assert b'"degraded":["large"]' in answer.body[-300:]
    assert len(answer.body) > len(body) - 200
    until("memory is given back", lambda: resident(serving) < before + 400 * MEGABYTE)


def test_large_regular_result_still_shrinks(target: Farm) -> None:
    body = conversation(ran(rows(user(), 4000)))
    name = user()

    def ask() -> Answer | None:
        # If an earlier test killed the child, the text stays verbatim in that session.
        nonlocal name
        name = user()
        answer = target.post(body, name)
        return answer if answer.json["degraded"] == [] else None

    first = until("it was read", ask)
    assert first.json["tokens_saved"] > first.json["tokens_before"] / 4
    again = target.post(body, name)
    assert again.json["messages"] == first.json["messages"]


def test_accepts_body_at_limit_and_rejects_above(target: Farm) -> None:
    body = around('{"role":"user","content":"' + "x" * (64 * MEGABYTE) + '"}')
    answer = target.post(body, user())
    assert answer.status == 413
    assert answer.json["error"]["type"] == "body_too_large"


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/json", "multipart/form-data", "application/xml", "", "json", "a/b; +json"],
)
def test_rejects_other_content_types(target: Farm, kind: str) -> None:
    wanted = 200 if kind == "" else 415
    assert post(target.url, {"messages": []}, {"content-type": kind}).status == wanted


def test_duplicate_keys_lose_no_content(target: Farm) -> None:
    log = json.dumps(events(user()))
    body = (
        '{"messages":[{"role":"user","content":"go"},{"role":"tool","tool_call_id":"a",'
        f'"x":1,"x":2,"content":"short","content":{log}}}],"model":"claude-x"}}'
    ).encode()
    answer = target.post(body, user())
    assert answer.json["tokens_saved"] > 0
    message = answer.json["messages"][1]
    assert (message["role"], message["tool_call_id"], message["x"]) == ("tool", "a", 2)
