"""The turn contract on a real farm: retrievals within a turn, in all formats, on any replica."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import keys

from ..farm import Answer, Farm, post, request, until, user
from ..texts import events
from ..turns import SHAPES, asks, items_of, says, text_of, tool_names, turn_request


def _take(farm: Farm, name: str, url: str = "", **body: Any) -> Answer:
    return post(url or farm.url, body, {"x-maas-username": name}, "/v1/compress/response")


def _opened(farm: Farm, shape: str, name: str, **more: Any) -> dict[str, Any]:
    answer = farm.post(turn_request(shape, name, **more), name)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_request_half_returns_the_provider_body(farm: Farm, shape: str) -> None:
    name = user()
    sent = turn_request(shape, name, config={"session_id": "s"}, token_budget=10**6, stream=True)
    answer = farm.post(sent, name).json
    body = answer["body"]
    assert items_of(shape, body) == items_of(shape, answer)
    assert items_of(shape, body) != items_of(shape, sent)
    assert set(body) == set(sent) - {"config", "gateway", "token_budget"}
    assert tool_names(body) == [*tool_names(sent), "headroom_retrieve"]
    same = set(body) - {"messages", "input", "tools"}
    assert {key: body[key] for key in same} == {key: sent[key] for key in same}
    assert answer["obligations"] == ["redrive", "relay_usage"]
    assert answer["gateway"] == sent["gateway"]
    assert answer["route"]["model"] == sent["model"]
    assert answer["route"]["provider"] == ("anthropic" if shape == "anthropic" else "openai")
    assert answer["headers"] == {}
    assert "ccr_tool_injected" in answer["transforms_applied"]


@pytest.mark.parametrize("shape", SHAPES)
def test_retrieval_is_answered_and_the_turn_ends(farm: Farm, shape: str) -> None:
    name = user()
    first = _opened(farm, shape, name)
    turn, digest = first["turn_id"], first["ccr_hashes"][0]
    second = _take(farm, name, turn_id=turn, response=asks(shape, digest), round=0).json
    assert (second["action"], second["round"]) == ("redrive", 1)
    items, before = items_of(shape, second["request"]), items_of(shape, first["body"])
    assert items[: len(before)] == before
    assert json.dumps(events(name))[1:-1] in json.dumps(items[-1]).replace('\\\\"', '"').replace(
        "\\\\n", "\\n"
    )
    assert {k: v for k, v in second["request"].items() if k not in ("messages", "input")} == {
        k: v for k, v in first["body"].items() if k not in ("messages", "input")
    }
    done = _take(farm, name, turn_id=turn, response=says(shape, "all built"), round=1).json
    assert (done["action"], done["rounds"]) == ("done", 1)
    assert text_of(shape, done["response"]).endswith("all built")
    assert "headroom_retrieve" not in json.dumps(done["response"])
    assert done["frozen_message_count"] == 3
    assert done["billed_usage"]["output_tokens"] == 14
    assert done["billed_usage"]["cache_read_input_tokens"] == 200


def test_answer_without_retrieval_ends_the_turn_at_once(farm: Farm) -> None:
    for shape in SHAPES:
        name = user()
        turn = _opened(farm, shape, name)["turn_id"]
        done = _take(farm, name, turn_id=turn, response=says(shape, "done")).json
        assert (done["action"], done["rounds"], done["response"]) == ("done", 0, None)


@pytest.mark.parametrize("shape", SHAPES)
def test_calls_of_the_client_reach_it_without_retrieval(farm: Farm, shape: str) -> None:
    name = user()
    first = _opened(farm, shape, name)
    mixed = asks(shape, first["ccr_hashes"][0], own=True)
    done = _take(farm, name, turn_id=first["turn_id"], response=mixed).json
    assert done["action"] == "done"
    told = json.dumps(done["response"])
    assert '"own"' in told
    assert "headroom_retrieve" not in told


@pytest.mark.parametrize("numbered", [True, False])
def test_repeated_answer_gets_the_same_reply(farm: Farm, numbered: bool) -> None:
    name = user()
    first = _opened(farm, "anthropic", name)
    turn = first["turn_id"]
    ask, said = asks("anthropic", first["ccr_hashes"][0]), says("anthropic", "ok")
    for number, response in ((0, ask), (1, said)):
        given = {"round": number} if numbered else {}
        answers = [
            _take(farm, name, turn_id=turn, response=response, **given).body for _ in range(3)
        ]
        assert answers[0] == answers[1] == answers[2]
    (found,) = request(farm.url, "GET", f"/stats/insights?user={name}").json["by_user"]
    until("both rounds are booked", lambda: _measured(farm, name) == 2)
    assert found["requests"] == 1


def _measured(farm: Farm, name: str) -> int:
    summary = request(farm.url, "GET", f"/stats?user={name}").json["summary"]
    return int(summary["cost"]["measured_requests"])


def test_turn_accepts_rounds_only_in_order(farm: Farm) -> None:
    name = user()
    first = _opened(farm, "openai", name)
    turn = first["turn_id"]
    ask, said = asks("openai", first["ccr_hashes"][0]), says("openai", "ok")
    early = _take(farm, name, turn_id=turn, response=said, round=1)
    assert (early.status, early.json["error"]["type"]) == (400, "invalid_field")
    missing = _take(farm, name, turn_id=turn)
    assert missing.status == 400
    assert "'response' is required" in missing.json["error"]["message"]
    redrive = _take(farm, name, turn_id=turn, response=ask, round=0).json
    late = _take(farm, name, turn_id=turn, response=said, round=0).json
    assert late == redrive, "a repeated answer gets the same reply"
    assert _take(farm, name, turn_id=turn, response=said, round=1).json["action"] == "done"
    dead = _take(farm, name, turn_id=turn, response=says("openai", "other"), round=1)
    assert (dead.status, dead.json["error"]["type"]) == (409, "already_answered")
    assert "is finished" in dead.json["error"]["message"]


def test_other_users_cannot_continue_a_turn(farm: Farm) -> None:
    name = user()
    turn = _opened(farm, "openai", name)["turn_id"]
    for owner, given in ((user(), turn), (name, "0" * 32), (name, "x")):
        answer = _take(farm, owner, turn_id=given, response=says("openai", "ok"))
        assert (answer.status, answer.json["error"]["type"]) == (404, "unknown_turn")
    assert _take(farm, name, turn_id=turn, response=says("openai", "ok")).status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"turn_id": 7},
        {"turn_id": " "},
        {"turn_id": "x" * 129},
        {"response": "text"},
        {"response": []},
        {"status": 99},
        {"status": True},
        {"round": -1},
        {"round": 1.5},
        {"usage": [1]},
        {"usage": {"input_tokens": -1}},
        {"usage": {"input_tokens": True}},
        {"latency_ms": "1"},
    ],
)
def test_wrong_answer_leaves_the_turn_as_it_was(farm: Farm, wrong: dict[str, Any]) -> None:
    name = user()
    turn = _opened(farm, "openai", name)["turn_id"]
    good = {"turn_id": turn, "response": says("openai", "ok")}
    refused = _take(farm, name, **{**good, **wrong})
    assert (refused.status, refused.json["error"]["type"]) == (400, "invalid_field")
    assert _take(farm, name, **good).json["action"] == "done"


def test_failed_provider_call_ends_the_turn(farm: Farm) -> None:
    name = user()
    turn = _opened(farm, "anthropic", name)["turn_id"]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    done = _take(farm, name, turn_id=turn, status=529, response=error).json
    assert (done["action"], done["response"], done["usage_applied"]) == ("done", None, False)


def test_model_that_only_retrieves_is_stopped(farm: Farm) -> None:
    name = user()
    first = _opened(farm, "anthropic", name)
    turn, digest = first["turn_id"], first["ccr_hashes"][0]
    answers = [
        _take(farm, name, turn_id=turn, response=asks("anthropic", digest, n)).json
        for n in range(6)
    ]
    assert [a["action"] for a in answers] == ["redrive"] * 5 + ["done"]
    assert answers[4]["request"]["tool_choice"] == {"type": "none"}
    assert "headroom_retrieve" not in json.dumps(answers[5]["response"])


def test_model_is_told_about_unknown_original(farm: Farm) -> None:
    name = user()
    first = _opened(farm, "anthropic", name)
    ask = asks("anthropic", "0" * 24)
    redrive = _take(farm, name, turn_id=first["turn_id"], response=ask).json
    (told,) = redrive["request"]["messages"][-1]["content"]
    assert told["is_error"] is True
    assert "unknown" in told["content"]


def test_gateway_that_cannot_redrive_gets_no_markers(farm: Farm) -> None:
    name = user()
    answer = _opened(farm, "openai", name, gateway={"can_relay_response": True})
    assert answer["ccr_hashes"] == []
    assert "hash=" not in json.dumps(answer["body"])
    assert tool_names(answer["body"]) == ["shell"]
    assert answer["obligations"] == ["relay_usage"]
    usage = {"usage": {"prompt_tokens": 50, "completion_tokens": 2, "cached_tokens": 20}}
    done = _take(farm, name, turn_id=answer["turn_id"], usage=usage).json
    assert done["billed_usage"]["input_tokens"] == 50
    until("it is booked", lambda: _measured(farm, name) == 1)


def test_first_turn_of_agent_offers_the_tool(farm: Farm) -> None:
    name = user()
    sent = turn_request("anthropic", name)
    sent["messages"] = sent["messages"][:1]
    answer = farm.post(sent, name).json
    assert tool_names(answer["body"]) == ["Bash", "headroom_retrieve"]
    del sent["tools"]
    talk = farm.post(sent, name).json
    assert "tools" not in talk["body"]
    assert talk["obligations"] == ["relay_usage"]


def test_bypassed_turn_is_sent_unchanged(farm: Farm) -> None:
    name = user()
    sent = turn_request("openai", name)
    answer = farm.post(sent, name, x_headroom_bypass="true").json
    assert answer["body"] == {k: v for k, v in sent.items() if k != "gateway"}
    assert answer["obligations"] == []
    assert answer["turn_id"]


@pytest.mark.parametrize(
    "block", [None, 7, [], {"can_redrive": 1}, {"request_headers": ["a"]},
              {"request_headers": {"Anthropic-Beta": 3}}],
)  # fmt: skip
def test_invalid_gateway_field_is_a_clear_error(farm: Farm, block: Any) -> None:
    answer = farm.post(turn_request("openai", "x", gateway=block), user())
    assert answer.status == 400
    assert "gateway" in answer.json["error"]["message"]


@pytest.mark.parametrize("usage", [b'{"input_tokens":1e999}', b'{"a":"\xff"}'])
def test_unreadable_usage_is_a_clear_error(farm: Farm, usage: bytes) -> None:
    body = b'{"turn_id":"x","usage":' + usage + b"}"
    answer = request(farm.url, "POST", "/v1/compress/response", body, {"x-maas-username": user()})
    assert (answer.status, answer.json["error"]["type"]) == (400, "malformed_json")
    assert "usage" in answer.json["error"]["message"]


def test_turn_is_kept_while_the_provider_works(farm: Farm) -> None:
    name = user()
    first = _opened(farm, "anthropic", name)
    key = keys.turn(keys.user_tag(name), first["turn_id"])
    assert 0 < farm.redis.ttl(key) <= 600
    farm.redis.expire(key, 50)
    ask = asks("anthropic", first["ccr_hashes"][0])
    assert _take(farm, name, turn_id=first["turn_id"], response=ask).json["action"] == "redrive"
    assert farm.redis.ttl(key) > 50, "its TTL was renewed"
    said = says("anthropic", "ok")
    assert _take(farm, name, turn_id=first["turn_id"], response=said).json["action"] == "done"
    assert farm.redis.hget(key, "body") is None, "a finished turn stores no conversation"
    farm.redis.delete(key)
    dead = _take(farm, name, turn_id=first["turn_id"], response=said)
    assert (dead.status, dead.json["error"]["type"]) == (404, "unknown_turn")
    assert "expired" in dead.json["error"]["message"]


def test_only_the_newest_turns_of_a_user_are_kept(farm: Farm) -> None:
    name = user()
    tag = keys.user_tag(name)
    first = _opened(farm, "openai", name)["turn_id"]
    farm.redis.rpush(keys.turns(tag), *[f"older-{n}" for n in range(keys.TURNS_MAX)])
    farm.redis.lrem(keys.turns(tag), 1, first)
    farm.redis.rpush(keys.turns(tag), first)
    newest = _opened(farm, "openai", name)["turn_id"]
    said = says("openai", "ok")
    assert _take(farm, name, turn_id=first, response=said).status == 404
    assert _take(farm, name, turn_id=newest, response=said).status == 200
    assert farm.redis.llen(keys.turns(tag)) == keys.TURNS_MAX
