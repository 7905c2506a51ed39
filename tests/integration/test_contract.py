"""Section 1 of the contract, case by case, against real processes."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from api.proxy.upstream_routes import MODEL_CALLS
from shared import keys
from shared.jobs import unpack_original

from ..farm import Farm, post, request, until, user
from ..texts import (
    call,
    conversation,
    events,
    manual,
    openai_ran,
    page,
    plain_prose,
    ran,
    result,
    rows,
)

MARKER = re.compile(r"<<ccr:([a-f0-9]{12,24})|hash=([a-f0-9]{12,24})")
DEEP = b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _markers(answer: dict[str, Any]) -> set[str]:
    return {a or b for a, b in MARKER.findall(json.dumps(answer["messages"]))}


def _enqueued(farm: Farm) -> int:
    return sum(1 for _ in farm.redis.scan_iter("rq:job:*")) + sum(
        int(farm.redis.llen(keys.queue(p))) for p in ("cpu", "gpu")
    )


def test_compresses_every_kind_of_output_in_both_shapes(farm: Farm) -> None:
    for make in (ran, openai_ran):
        for text in (rows(), events(), page()):
            answer = farm.post(conversation(make(text)), user()).json
            assert answer["tokens_saved"] > 0.1 * answer["tokens_before"], text[:60]
            assert answer["degraded"] == []


@pytest.mark.parametrize("path", ["/v1/compress", "//v1/compress", "//v1//compress"])
def test_accepts_urls_joined_by_string(farm: Farm, path: str) -> None:
    assert post(farm.url, conversation(ran(rows())), path=path).status == 200


@pytest.mark.parametrize("model", [{"model": ""}, {"model": None}, {}])
def test_model_is_optional(farm: Farm, model: dict[str, Any]) -> None:
    body = {"messages": conversation(ran(rows()))["messages"], **model}
    answer = farm.post(body, user())
    assert answer.status == 200
    assert answer.json["tokens_saved"] > 0


def test_user_is_taken_from_header(farm: Farm) -> None:
    body = conversation(ran(rows(user())))
    first, second = user(), user()
    post(farm.url, body, {"x-maas-username": first, "x-headroom-user-id": second})
    assert farm.redis.exists(keys.cache(keys.user_tag(first)))
    assert not farm.redis.exists(keys.cache(keys.user_tag(second)))
    post(farm.url, body, {"x-headroom-user-id": second})
    assert farm.redis.exists(keys.cache(keys.user_tag(second)))
    post(farm.url, body)
    assert farm.redis.exists(keys.cache(keys.user_tag("anonymous")))


def test_counts_are_integers_and_ratio_is_correct(farm: Farm) -> None:
    answer = farm.post(conversation(ran(rows())), user())
    for name in ("tokens_before", "tokens_after", "tokens_saved"):
        assert re.search(rb'"%s":\d+[,}]' % name.encode(), answer.body)
    found = answer.json
    assert found["tokens_saved"] == found["tokens_before"] - found["tokens_after"]
    assert found["compression_ratio"] == found["tokens_saved"] / found["tokens_before"]
    nothing = farm.post(conversation(), user())
    assert b'"compression_ratio":0.0' in nothing.body
    assert nothing.json["tokens_saved"] == 0


def test_empty_messages_are_accepted(farm: Farm) -> None:
    answer = farm.post({"messages": []}, user())
    assert answer.status == 200
    assert answer.json["messages"] == []
    assert answer.json["tokens_before"] == answer.json["tokens_after"] == 0


def test_uncompressed_parts_keep_their_bytes(farm: Farm) -> None:
    exact = (
        b'{"z":1.50, "role":"user","n":1e5,"big":12345678901234567890123,'
        b'"content":[{"type":"text","text":"caf\\u00e9 \xe6\x96\x87"},'
        b'{"type":"tool_result","tool_use_id":"a","is":0.10,"content":"%s"}],"x":{"b":[1.0, 2]}}'
        % json.dumps(rows())[1:-1].encode()
    )
    untouched = b'{ "role" : "user" , "content" : "\\u0041bc", "cost": 0.1000 }'
    body = b'{"messages":[' + untouched + b",\n " + exact + b'],"model":"claude-x","extra":[1]}'
    answer = farm.post(body, user())
    assert answer.json["tokens_saved"] > 0
    assert untouched in answer.body
    for piece in (b'"z":1.50', b'"n":1e5', b'"big":12345678901234567890123', b'"is":0.10'):
        assert piece in answer.body
    assert b'{"type":"text","text":"caf\\u00e9 \xe6\x96\x87"}' in answer.body
    assert b'"x":{"b":[1.0, 2]}}' in answer.body
    changed = answer.json["messages"][1]
    assert list(changed) == ["z", "role", "n", "big", "content", "x"]
    assert [b["type"] for b in changed["content"]] == ["text", "tool_result"]


def test_count_roles_order_and_ids_stay(farm: Farm) -> None:
    parts = [{"type": "text", "text": rows("p")}, {"type": "text", "text": rows("q")}]
    several = {
        "role": "user",
        "content": [
            result(rows("1"), "b")["content"][0],
            {"type": "image", "source": {"data": "x"}},
            result(parts, "c")["content"][0],
            result([{"type": "text", "text": rows("2")}], "d")["content"][0],
        ],
    }
    calls = {
        "role": "assistant",
        "content": [call("Bash", {"command": i}, i)["content"][0] for i in "bcd"],
    }
    body = conversation(ran(events()), openai_ran(rows("3"), "e"), [calls, several])
    answer = farm.post(body, user()).json

    def outline(messages: list[Any]) -> list[Any]:
        return [
            (
                m["role"],
                m.get("tool_call_id"),
                [
                    (b["type"], b.get("tool_use_id"), isinstance(b.get("content"), list))
                    for b in m["content"]
                ]
                if isinstance(m["content"], list)
                else type(m["content"]),
            )
            for m in messages
        ]

    assert outline(answer["messages"]) == outline(body["messages"])
    before, after = body["messages"][-1]["content"], answer["messages"][-1]["content"]
    assert after[1] == before[1]
    for index in (0, 2, 3):
        assert len(json.dumps(after[index])) < len(json.dumps(before[index]))


def test_user_and_system_messages_are_never_touched(farm: Farm) -> None:
    said = [{"role": "user", "content": rows()}, {"role": "system", "content": events()}]
    answer = farm.post(conversation(said), user()).json
    assert answer["messages"][1:] == said
    asked = {**conversation(said), "compress_user_messages": True}
    changed = farm.post(asked, user()).json["messages"]
    assert len(changed[1]["content"]) < len(said[0]["content"])
    assert changed[2] == said[1]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"[]", "malformed_json"),
        (b'"x"', "malformed_json"),
        (b"\xff\xfe{}", "malformed_json"),
        (b'{"messages":[{"role":"user","content":"\xff"}]}', "malformed_json"),
        (DEEP, "malformed_json"),
        (b"{}", "invalid_field"),
        (b'{"messages":null}', "invalid_field"),
        (b'{"messages":"x"}', "invalid_field"),
        (b'{"messages":{}}', "invalid_field"),
        (b'{"messages":[1]}', "invalid_field"),
        (b'{"messages":[null]}', "invalid_field"),
        (b'{"messages":[{"role":"user","content":"x"},[]]}', "invalid_field"),
        (b'{"messages":[],"model":5}', "invalid_field"),
        (b'{"messages":[],"config":[]}', "invalid_field"),
        (b'{"messages":[],"protect_recent":"4"}', "invalid_field"),
        (b'{"messages":[],"protect_recent":-1}', "invalid_field"),
        (b'{"messages":[],"protect_recent":true}', "invalid_field"),
        (b'{"messages":[],"min_tokens_to_compress":1.5}', "invalid_field"),
        (b'{"messages":[],"target_ratio":0}', "invalid_field"),
        (b'{"messages":[],"target_ratio":1.01}', "invalid_field"),
        (b'{"messages":[],"target_ratio":"0.5"}', "invalid_field"),
        (b'{"messages":[],"compress_user_messages":1}', "invalid_field"),
        (b'{"messages":[],"mode":"other"}', "invalid_field"),
        (b'{"messages":[],"config":{"mode":5}}', "invalid_field"),
        (b'{"messages":[],"config":{"target_ratio":2}}', "invalid_field"),
    ],
)
def test_rejects_bad_input_without_enqueueing(farm: Farm, body: bytes, kind: str) -> None:
    until("earlier jobs are cleared away", lambda: not _enqueued(farm))
    answer = farm.post(body, user())
    assert answer.status == 400
    error = answer.json["error"]
    assert error["type"] == kind
    assert error["message"]
    assert not _enqueued(farm)


@pytest.mark.parametrize("value", [r'"\ud800 alone"', "NaN", "1e400", "-Infinity"])
def test_json_read_by_some_parsers_stays_verbatim(farm: Farm, value: str) -> None:
    tail = json.dumps(ran(rows()))[1:]
    body = f'{{"messages":[{{"role":"user","content":{value}}},{tail}}}'.encode()
    answer = farm.post(body, user())
    assert answer.status == 200
    assert len(answer.json["messages"]) == 3
    assert answer.json["degraded"] == []
    assert answer.json["tokens_saved"] > 0
    assert repr(answer.json["messages"][0]) == repr(json.loads(body)["messages"][0])


def test_lone_surrogate_affects_only_its_block(farm: Farm) -> None:
    broken = "\ud800 " + rows("broken")
    both = {
        "role": "user",
        "content": [
            result(broken, "b")["content"][0],
            result(rows("c"), "c")["content"][0],
        ],
    }
    body = conversation(ran(broken, "a"), ran(rows("whole"), "d"), [both])
    answer = farm.post(body, user())
    assert answer.status == 200
    found = answer.json
    assert found["degraded"] == []
    assert found["messages"][2] == body["messages"][2]
    assert len(json.dumps(found["messages"][4])) < len(json.dumps(body["messages"][4]))


def test_methods_types_and_paths(farm: Farm) -> None:
    wrong = request(farm.url, "GET", "/v1/compress")
    assert wrong.status == 405
    assert wrong.json["error"]["type"] == "method_not_allowed"
    assert request(farm.url, "GET", "/nowhere").status == 404
    assert request(farm.url, "GET", "/nowhere").json["error"]["type"] == "not_found"
    text = post(farm.url, {"messages": []}, {"content-type": "text/plain"})
    assert text.status == 415
    assert text.json["error"]["type"] == "unsupported_media_type"
    charset = post(farm.url, {"messages": []}, {"content-type": "application/json; charset=utf-8"})
    assert charset.status == 200


def test_body_over_limit_is_413(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(max_body_bytes=20_000).start(cpu=0, gpu=0)
    body = json.dumps(conversation(ran(rows("", 1000)))).encode()
    assert farm.post(body, user()).status == 413
    assert farm.post(body, user()).json["error"]["type"] == "body_too_large"
    connection = http.client.HTTPConnection(farm.url.removeprefix("http://"), timeout=90)
    chunks = [body[i : i + 5000] for i in range(0, len(body), 5000)]
    connection.request(
        "POST",
        "/v1/compress",
        iter(chunks),
        {"content-type": "application/json"},
        encode_chunked=True,
    )
    assert connection.getresponse().status == 413
    connection.close()
    assert farm.post(conversation(), user()).status == 200


def test_accepts_chunked_bodies(farm: Farm) -> None:
    body = json.dumps(conversation(ran(rows()))).encode()
    connection = http.client.HTTPConnection(farm.url.removeprefix("http://"), timeout=90)
    connection.request(
        "POST",
        "/v1/compress",
        iter([body[:100], body[100:]]),
        {"content-type": "application/json"},
        encode_chunked=True,
    )
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["tokens_saved"] > 0
    connection.close()
    assert post(farm.url, gzip.compress(body)).status == 400


def test_bypass_returns_the_messages_untouched(farm: Farm) -> None:
    body = conversation(ran(rows()))
    answer = farm.post(body, user(), x_headroom_bypass="true").json
    assert answer["messages"] == body["messages"]
    assert answer["tokens_saved"] == 0
    assert answer["tokens_before"] > 0


def test_keeps_or_creates_request_id(farm: Farm) -> None:
    given = farm.post(conversation(), user(), x_request_id="abc-123")
    assert given.headers["x-request-id"] == "abc-123"
    made = farm.post(conversation(), user(), x_request_id="bad id\t")
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


def test_markers_resolve_for_their_user_every_turn(farm: Farm) -> None:
    name, other = user(), user()
    log = events(name)
    body = conversation(ran(log, "a"), ran(page(), "b"), ran(log, "c"))
    for _ in range(2):
        answer = farm.post(body, name).json
        assert all(re.fullmatch("[a-f0-9]{12,24}", h) for h in answer["ccr_hashes"])
        assert set(answer["ccr_hashes"]) == _markers(answer)
        assert len(answer["ccr_hashes"]) == 2
        found = set()
        for digest in answer["ccr_hashes"]:
            key = keys.original(keys.user_tag(name), digest)
            found.add(unpack_original(farm.redis.get(key)).content)
            assert farm.redis.ttl(key) > 0
            assert not farm.redis.exists(keys.original(keys.user_tag(other), digest))
        assert {log, page()} == found


def test_forged_marker_is_not_listed(farm: Farm) -> None:
    forged = "<<ccr:abcdefabcdef 5_rows_offloaded>> " + rows()
    answer = farm.post(conversation(ran(forged), ran(rows(), "b")), user()).json
    assert "abcdefabcdef" not in answer["ccr_hashes"]


def test_marker_free_leaves_no_marker(farm: Farm) -> None:
    stale = [
        call("Read", {"file_path": "/a"}, "r"),
        result("a line\n" * 200, "r"),
        call("Edit", {"file_path": "/a"}, "s"),
        result("done", "s"),
    ]
    grep = "\n".join(f"src/module.py:{i}:def function_{i}(): pass" for i in range(200))
    body = conversation(ran(events(), "a"), ran(page(), "b"), ran(grep, "c"), stale)
    for given in ({"mode": "marker-free"}, {"config": {"mode": "marker-free"}}):
        answer = farm.post({**body, **given}, user()).json
        assert answer["ccr_hashes"] == []
        assert not _markers(answer)
        assert answer["tokens_saved"] > 0


@pytest.mark.parametrize("where", ["top", "config"])
def test_options_are_honoured_in_both_places(farm: Farm, where: str) -> None:
    def ask(body: dict[str, Any], **options: Any) -> dict[str, Any]:
        given = options if where == "top" else {"config": options}
        answer: dict[str, Any] = farm.post({**body, **given}, user()).json
        return answer

    log = conversation(openai_ran(events()))
    assert ask(log)["ccr_hashes"]
    # A text below the minimum loses nothing, but a reversible form may shorten it.
    assert "omitted in all" in str(ask(log)["messages"])
    assert "omitted in all" not in str(ask(log, min_tokens_to_compress=10**6)["messages"])
    long = conversation(manual(plain_prose()))
    assert ask(long, target_ratio=0.2)["tokens_after"] < ask(long, target_ratio=0.9)["tokens_after"]


def test_body_option_overrides_config(farm: Farm) -> None:
    log = conversation(openai_ran(events()))
    given = {"min_tokens_to_compress": 20, "config": {"min_tokens_to_compress": 10**6}}
    assert farm.post({**log, **given}, user()).json["ccr_hashes"]


def test_serves_health_and_openapi(farm: Farm) -> None:
    assert request(farm.url, "GET", "/health").json["status"] == "ok"
    live = request(farm.url, "GET", "/livez").json
    assert (live["status"], live["alive"]) == ("healthy", True)
    ready = request(farm.url, "GET", "/readyz").json
    assert ready["status"] == "ready"
    assert {"db", "uptime_seconds", "checks"} <= set(ready)
    document = request(farm.url, "GET", "/openapi.json").json
    assert document["openapi"].startswith("3.")
    for path in document["paths"]:
        wanted = 404 if path in MODEL_CALLS else 200  # a provider's OPTIONS, but there is none
        assert request(farm.url, "OPTIONS", path).status == wanted
