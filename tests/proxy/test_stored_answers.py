"""Responses that the provider stores: every client can go on, by the answer's id too."""

from __future__ import annotations

import json
import secrets
from typing import Any

import msgspec
import pytest

from api.provider.provider_interface import Exchange, Round, ToolResult
from api.provider.retrieval_exchange import pack
from shared import keys

from ..farm import Farm, post, user
from ..texts import events
from .saying import RETRIEVE, Responses
from .scripted import ScriptedProvider
from .sdk_clients import END, HASH, OWN, ResponsesClient, names_of, say

_TOOL = {"type": "function", "name": "Bash", "parameters": {}, "description": "Run it. " * 400}


def _request(name: str, text: str, **more: Any) -> tuple[dict[str, Any], dict[str, str]]:
    one = ResponsesClient(_Nowhere, name)
    one.hear(text)
    body = {"model": "gpt-x", "input": one.talk, "tools": [_TOOL], **more}
    return body, {"x-maas-username": name, "authorization": "Bearer sk"}


class _Nowhere:
    url = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "stored",
    [
        {"previous_response_id": "resp_1"},
        {"store": False, "previous_response_id": "resp_1"},
        {"store": False, "conversation": "conv_1"},
        {"store": False, "conversation": {"id": "conv_1"}},
        {"store": False, "prompt": {"id": "pmpt_1"}},
    ],
    ids=json.dumps,
)
def test_stored_content_gets_no_tool_and_no_marker(
    proxy: Farm, provider: ScriptedProvider, stored: dict[str, Any]
) -> None:
    body, headers = _request(user(), events(secrets.token_hex(4)), **stored)
    provider.will_say(say(Responses, END, stream=False))
    assert post(proxy.url, body, headers, "/v1/responses").status == 200
    assert names_of(provider.asked[0]) == ["Bash"]
    assert not HASH.search(provider.asked[0].body.decode())


@pytest.mark.parametrize("store", [{}, {"store": True}], ids=json.dumps)
def test_mixed_turn_is_continued_by_its_id(
    proxy: Farm, provider: ScriptedProvider, store: dict[str, Any]
) -> None:
    body, headers = _request(user(), text := events(secrets.token_hex(4)), **store)
    provider.will_say(
        say(Responses, ("get", "r1"), stream=False),
        say(Responses, ("get", "r2"), OWN, stream=False),
    )
    answer = post(proxy.url, body, headers, "/v1/responses").json
    assert names_of(provider.asked[0]) == ["Bash", RETRIEVE]
    assert [item["call_id"] for item in answer["output"]] == [OWN[1]]

    output = {"type": "function_call_output", "call_id": OWN[1], "output": "ok"}
    later = {"model": "gpt-x", "input": [output], "previous_response_id": answer["id"]}
    provider.will_say(say(Responses, END, stream=False))
    assert post(proxy.url, later, headers, "/v1/responses").status == 200
    sent = provider.asked[-1].json
    assert sent["previous_response_id"] != answer["id"]
    assert [item["call_id"] for item in sent["input"]] == ["r2", OWN[1]]
    assert sent["input"][0]["output"] == text


def test_named_session_is_continued_once_by_id(proxy: Farm, provider: ScriptedProvider) -> None:
    """The exchange is kept under the session's name and under the answer's id."""
    more = {"prompt_cache_key": secrets.token_hex(4)}
    body, headers = _request(user(), events(secrets.token_hex(4)), **more)
    provider.will_say(say(Responses, ("get", "r1"), OWN, stream=False))
    answer = post(proxy.url, body, headers, "/v1/responses").json
    output = {"type": "function_call_output", "call_id": OWN[1], "output": "ok"}
    later = {"model": "gpt-x", "input": [output], "previous_response_id": answer["id"], **more}
    provider.will_say(say(Responses, END, stream=False))
    post(proxy.url, later, headers, "/v1/responses")
    assert [item["call_id"] for item in provider.asked[-1].json["input"]] == ["r1", OWN[1]]


def test_null_fields_are_absent_fields(proxy: Farm, provider: ScriptedProvider) -> None:
    nothing = dict.fromkeys(("conversation", "previous_response_id", "prompt"))
    body, headers = _request(user(), text := events(secrets.token_hex(4)), store=False, **nothing)
    provider.will_say(
        say(Responses, ("get", "r1"), stream=False), say(Responses, END, stream=False)
    )
    assert post(proxy.url, body, headers, "/v1/responses").status == 200
    first, second = provider.asked
    assert names_of(first) == ["Bash", RETRIEVE]
    assert second.json["input"][: len(body["input"])] == first.json["input"]
    assert second.json["input"][-1]["output"] == text


def test_answer_stored_by_the_version_before_is_continued(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    """The farm then offered its tool in stored answers; the client has the first round's id."""
    name, session = user(), secrets.token_hex(4)
    found = (ToolResult("r1", "the original"),)
    said = msgspec.Raw(json.dumps([Responses.item(("get", "r1", "0123456789ab"))]).encode())
    mixed = Exchange(1, (Round(said, found),), True, ("id:function_call:c1",), "resp_1", "resp_2")
    proxy.redis.rpush(keys.exchanges(keys.user_tag(name), session), pack(mixed))
    output = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    body = {
        "model": "gpt-x",
        "input": [output],
        "previous_response_id": "resp_1",
        "prompt_cache_key": session,
    }
    provider.will_say(say(Responses, END, stream=False))
    post(proxy.url, body, {"x-maas-username": name}, "/v1/responses")
    asked = provider.asked[0].json
    assert asked["previous_response_id"] == "resp_2"
    assert [item["call_id"] for item in asked["input"]] == ["r1", "c1"]
    assert "tools" not in asked
