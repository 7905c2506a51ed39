"""Retrieval in streams as servers other than the scripted one write them."""

from __future__ import annotations

import json
import secrets

from ..farm import Farm, user
from ..texts import events
from .saying import RETRIEVE, Anthropic, Chat
from .scripted import Asked, Said, ScriptedProvider
from .sdk_clients import END, HASH, OWN, AnthropicClient, ChatClient, say


def test_several_changes_of_a_message_are_one_round(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    def changes_twice(asked: Asked) -> Said:
        said = Anthropic.events(("get", "r1", HASH.findall(asked.body.decode())[-1]))
        change = said[-2].replace(b'"tool_use"', b"null")
        return Said([*said[:-2], change, *said[-2:]])

    one = AnthropicClient(proxy, user())
    one.hear(text := events(secrets.token_hex(4)))
    provider.will_say(changes_twice, say(Anthropic, END, stream=True))
    kinds, used, made = one.told(one.ask(stream=True))
    assert (kinds, used, made) == (["text"], 200, 20)
    assert json.dumps(text)[1:-1] in json.dumps(provider.asked[1].json["messages"][-1])


def test_invalid_input_is_answered_and_the_turn_goes_on(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    said = Anthropic.events(("get", "r1", "0123456789ab"))
    cut = [event.replace(rb'\"}"', b'"') for event in said]
    assert cut != said
    one = AnthropicClient(proxy, user())
    one.hear(events(secrets.token_hex(4)))
    provider.will_say(Said(cut), say(Anthropic, END, stream=True))
    kinds, _, _ = one.told(one.ask(stream=True))
    assert kinds == ["text"]
    call, result = (message["content"][0] for message in provider.asked[1].json["messages"][-2:])
    assert list(call["input"]) == ["INVALID_JSON"]
    assert result["is_error"]
    assert "names no hash" in result["content"]


def test_retrieval_is_stored_without_a_last_event(proxy: Farm, provider: ScriptedProvider) -> None:
    def without_done(asked: Asked) -> Said:
        digest = HASH.findall(asked.body.decode())[-1]
        return Said(Chat.events(("get", "r1", digest), OWN)[:-1])

    one = ChatClient(proxy, user())
    one.hear(text := events(secrets.token_hex(4)))
    provider.will_say(without_done, say(Chat, END, stream=True))
    one.ask(stream=True)
    one.go_on("c1")
    one.ask(stream=True)
    asked = json.dumps(provider.asked[1].json["messages"])
    assert RETRIEVE in asked
    assert json.dumps(text)[1:-1] in asked


def test_calls_that_repeat_their_fields_are_served(proxy: Farm, provider: ScriptedProvider) -> None:
    def repeats(asked: Asked) -> Said:
        said = Chat.events(("get", "r1", HASH.findall(asked.body.decode())[-1]))
        fields = b'{"id": "r1", "type": "function", "index": 0, "function": {"name": "%b", '
        begun = b'{"index": 0, "function": {'
        return Said([event.replace(begun, fields % RETRIEVE.encode()) for event in said])

    one = ChatClient(proxy, user())
    one.hear(text := events(secrets.token_hex(4)))
    provider.will_say(repeats, say(Chat, END, stream=True))
    assert one.told(one.ask(stream=True))[0] == ["text"]
    assert json.dumps(text)[1:-1] in json.dumps(provider.asked[1].json["messages"][-1])
