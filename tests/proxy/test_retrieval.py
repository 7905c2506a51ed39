"""Retrieval within a client's turn, from the view of the official SDKs and of the provider."""

from __future__ import annotations

import http.client
import json
import secrets
from types import SimpleNamespace
from typing import Any

import pytest

from api.provider.provider_interface import MAX_ROUNDS
from deploy.ports import free_port
from shared.python_command import python_module

from ..farm import Farm, Process, post, request, until, user
from ..texts import events
from .rules import broken_rule
from .saying import RETRIEVE, Anthropic, Chat
from .scripted import Said, ScriptedProvider, whole
from .sdk_clients import (
    END,
    HASH,
    OWN,
    TEXT,
    THINK,
    AnthropicClient,
    ChatClient,
    array_of,
    every_client,
    names_of,
    say,
    streamed,
)


@every_client
@streamed
def test_original_is_retrieved_inside_the_turn(
    proxy: Farm, provider: ScriptedProvider, client: Any, stream: bool
) -> None:
    one, text = client(proxy, user()), events(secrets.token_hex(4))
    one.hear(text)
    provider.will_say(
        say(client.api, THINK, TEXT, ("get", "r1"), stream=stream),
        say(client.api, END, OWN, stream=stream),
        say(client.api, END, stream=stream),
    )
    kinds, used, made = client.told(one.ask(stream=stream))
    first, second = provider.asked
    assert text not in json.dumps(first.json)
    assert names_of(first) == names_of(second) == ["Bash", RETRIEVE]
    assert json.dumps(text)[1:-1] in json.dumps(second.json[client.api.array])
    thinks = [] if client is ChatClient else ["thinking"]
    texts = ["text"] if client is ChatClient else ["text", "text"]
    assert kinds == [*thinks, *texts, "tool_use"]
    assert (used, made) == (200, 20)
    assert array_of(client.api, second).startswith(array_of(client.api, first))

    one.go_on("c1")
    without = json.dumps({**first.json, client.api.array: one.talk}).encode()
    assert not broken_rule(client.api.path, without)  # were the proxy turned off now
    one.ask(stream=stream)
    third = provider.asked[2]
    assert array_of(client.api, third).startswith(array_of(client.api, second))
    assert names_of(third) == ["Bash", RETRIEVE]


@every_client
@streamed
def test_mixed_turn_serves_the_retrieval_with_the_clients_results(
    proxy: Farm, provider: ScriptedProvider, client: Any, stream: bool
) -> None:
    one, text = client(proxy, user()), events(secrets.token_hex(4))
    one.hear(text)
    provider.will_say(
        say(client.api, THINK, ("get", "r1"), OWN, stream=stream),
        say(client.api, END, stream=stream),
        say(client.api, END, stream=stream),
    )
    kinds, used, _ = client.told(one.ask(stream=stream))
    assert kinds[-1] == "tool_use"
    assert kinds.count("tool_use") == 1
    assert used == 100
    one.go_on("c1")
    one.ask(stream=stream)
    one.go_on()
    one.ask(stream=stream)
    _, second, third = provider.asked
    assert json.dumps(text)[1:-1] in json.dumps(second.json[client.api.array])
    assert array_of(client.api, third).startswith(array_of(client.api, second))


@every_client
@streamed
def test_failed_retrieval_tells_the_model(
    proxy: Farm, provider: ScriptedProvider, client: Any, stream: bool
) -> None:
    one = client(proxy, user())
    one.hear(events(secrets.token_hex(4)))
    provider.will_say(
        say(client.api, ("get", "r1", "0123456789ab"), stream=stream),
        say(client.api, ("get", "r2", "no hash"), stream=stream),
        say(client.api, END, stream=stream),
    )
    kinds, used, _ = client.told(one.ask(stream=stream))
    assert kinds == ["text"]
    assert used == 300
    assert "cannot be retrieved" in json.dumps(provider.asked[1].json[client.api.array][-1])
    assert "names no hash" in json.dumps(provider.asked[2].json[client.api.array][-1])


@every_client
@streamed
def test_model_that_only_retrieves_is_stopped(
    proxy: Farm, provider: ScriptedProvider, client: Any, stream: bool
) -> None:
    one = client(proxy, user())
    one.hear(events(secrets.token_hex(4)))
    provider.will_say(
        *[say(client.api, ("get", f"r{n}"), stream=stream) for n in range(MAX_ROUNDS)],
        say(client.api, TEXT, ("get", "r9"), stream=stream),
    )
    kinds, used, _ = client.told(one.ask(stream=stream))
    assert kinds == ["text"]
    assert used == 100 * (MAX_ROUNDS + 1)
    choices = [asked.json.get("tool_choice") for asked in provider.asked]
    assert choices[:-1] == [None] * MAX_ROUNDS
    assert choices[-1] in ("none", {"type": "none"})


@every_client
def test_refused_follow_up_reaches_the_client_as_an_error(
    proxy: Farm, provider: ScriptedProvider, client: Any
) -> None:
    import anthropic
    import openai

    error = {"type": "overloaded_error", "message": "too busy"}
    for stream in (False, True):
        one = client(proxy, user())
        one.hear(events(secrets.token_hex(4)))
        provider.will_say(
            say(client.api, TEXT, ("get", "r1"), stream=stream),
            whole({"type": "error", "error": error}, 529),
        )
        with pytest.raises((anthropic.APIStatusError, openai.APIError)) as raised:
            one.ask(stream=stream)
        assert "too busy" in str(raised.value)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\xff\x00garbage", b"\n\n", b"data: {\n\n"],
        [b"event: ping\r\ndata: {}\r\n\r\n: half"],
        [b'data: {"type": "content_block_start", "index": -1, "content_block": {"x": 1}}\n\n'],
        [b"data: " + b"x" * 3_000_000, b"\n\n"],
        [b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'],
    ],
    ids=["garbage", "half", "odd", "huge", "error"],
)
@pytest.mark.parametrize("cut", [False, True])
def test_garbage_in_a_watched_stream_passes_unchanged(
    proxy: Farm, provider: ScriptedProvider, pieces: list[bytes], cut: bool
) -> None:
    one = AnthropicClient(proxy, user())
    one.hear(events(secrets.token_hex(4)))
    begun = Anthropic.events(("text", "x"))[:4]
    provider.will_say(Said([*begun, *pieces], cut=cut))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=90)
    body = json.dumps({"model": "claude-x", "messages": one.talk, "stream": True})
    kind = {"content-type": "application/json", "x-api-key": "sk"}
    connection.request("POST", "/v1/messages", body, kind)
    answer = connection.getresponse()
    try:
        read = answer.read()
        assert not cut
    except http.client.IncompleteRead as error:
        read = error.partial
        assert cut
    connection.close()
    assert names_of(provider.asked[0]) == [RETRIEVE]
    expected = b"".join([*begun, *pieces])
    assert read == expected or (cut and expected.startswith(read) and len(read) > 300)


def test_requests_without_markers_are_not_offered_the_tool(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    one = AnthropicClient(proxy, user())
    one.hear("short")
    provider.will_say(say(Anthropic, END, stream=False))
    one.ask(stream=False)
    assert names_of(provider.asked[0]) == ["Bash"]


def test_two_sessions_do_not_share_an_exchange(proxy: Farm, provider: ScriptedProvider) -> None:
    text = events(secrets.token_hex(4))
    talks = [AnthropicClient(proxy, user()), AnthropicClient(proxy, user())]
    for one in talks:
        one.hear(text)
        one.talk[0]["content"] = "Look."
    provider.will_say(
        say(Anthropic, ("get", "r1"), stream=False), say(Anthropic, END, stream=False)
    )
    talks[0].ask(stream=False)
    talks[1].talk = [*talks[1].talk, {"role": "assistant", "content": "It is done."}]
    talks[1].go_on()
    provider.will_say(say(Anthropic, END, stream=False))
    talks[1].ask(stream=False)
    assert json.dumps(text)[1:-1] not in json.dumps(provider.asked[0].json)


def _chat_with_system_prompt(proxy: Farm, name: str, question: str) -> ChatClient:
    """Return a Chat client that names no session, as most agents."""
    one = ChatClient(proxy, name)
    one.hear(events("log"))
    one.talk[0]["content"] = question
    one.talk.insert(0, {"role": "system", "content": "You are an agent."})
    return one


@pytest.mark.parametrize("question", ["Look.", "Look elsewhere."], ids=["equal", "other"])
def test_conversations_of_one_agent_do_not_share_an_exchange(
    proxy: Farm, provider: ScriptedProvider, question: str
) -> None:
    name = user()
    one = _chat_with_system_prompt(proxy, name, "Look.")
    other = _chat_with_system_prompt(proxy, name, question)
    provider.will_say(say(Chat, ("get", "r1"), stream=False), say(Chat, END, stream=False))
    one.ask(stream=False)
    assert "log" in json.dumps(provider.asked[1].json["messages"][-1])
    other.talk += [{"role": "assistant", "content": END[1]}]
    other.go_on()
    provider.will_say(say(Chat, END, stream=False))
    other.ask(stream=False)
    assert "headroom_retrieve" not in json.dumps(provider.asked[0].json["messages"])


def test_exchange_comes_back_after_a_system_prompt(proxy: Farm, provider: ScriptedProvider) -> None:
    one = _chat_with_system_prompt(proxy, user(), "Look.")
    provider.will_say(
        say(Chat, ("get", "r1"), stream=False),
        say(Chat, END, OWN, stream=False),
        say(Chat, END, stream=False),
    )
    one.ask(stream=False)
    one.talk[0]["content"] = "You are an agent. It is a minute later."
    one.go_on("c1")
    one.ask(stream=False)
    assert RETRIEVE in json.dumps(provider.asked[2].json["messages"])


def test_client_with_headrooms_own_server_answers_itself(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    one = AnthropicClient(proxy, user())
    one.hear(events(secrets.token_hex(4)))
    body = {
        "model": "claude-x",
        "messages": one.talk,
        "tools": [{"name": f"mcp__headroom__{RETRIEVE}"}],
    }
    named = f"mcp__headroom__{RETRIEVE}".encode()
    said = Anthropic.events(("get", "r1", "0123456789ab"))
    said = [event.replace(RETRIEVE.encode(), named) for event in said]
    provider.will_say(Said(said))
    answer = post(proxy.url, body, {"x-api-key": "sk"}, "/v1/messages")
    assert answer.body == b"".join(said)
    assert names_of(provider.asked[0]) == [f"mcp__headroom__{RETRIEVE}"]
    assert HASH.search(provider.asked[0].body.decode())


def test_another_replica_puts_the_exchange_back(proxy: Farm, provider: ScriptedProvider) -> None:
    port = free_port()
    replica = Process.run(
        python_module("deploy.cli", "api"),
        {**proxy.environment, "HEADROOM_PORT": str(port)},
        proxy.directory / "replica.log",
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until("the replica answers", lambda: _answers(url))
        one = AnthropicClient(proxy, name := user())
        one.hear(events(secrets.token_hex(4)))
        provider.will_say(
            say(Anthropic, ("get", "r1"), stream=True),
            say(Anthropic, END, OWN, stream=True),
            say(Anthropic, END, stream=True),
        )
        one.ask(stream=True)
        one.go_on("c1")
        elsewhere = AnthropicClient(SimpleNamespace(url=url), name)
        elsewhere.talk = one.talk
        elsewhere.ask(stream=True)
    finally:
        replica.stop()
    second, third = provider.asked[1:]
    assert array_of(Anthropic, third).startswith(array_of(Anthropic, second))


def _answers(url: str) -> bool:
    try:
        return request(url, "GET", "/health").status == 200
    except OSError:
        return False
