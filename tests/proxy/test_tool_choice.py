"""A client that forbids or demands calls: no marker without a way to retrieve it."""

from __future__ import annotations

import json
import secrets
from itertools import pairwise
from typing import Any

import pytest

from api.provider.provider_interface import MAX_ROUNDS

from ..farm import Farm, post, user
from ..texts import events
from .saying import RETRIEVE, Anthropic, Chat, Responses
from .scripted import ScriptedProvider
from .sdk_clients import (
    CLIENTS,
    END,
    HASH,
    OWN,
    AnthropicClient,
    ChatClient,
    ResponsesClient,
    array_of,
    names_of,
    say,
)

_NAMED: dict[Any, Any] = {
    Anthropic: {"type": "tool", "name": "Bash"},
    Chat: {"type": "function", "function": {"name": "Bash"}},
    Responses: {"type": "function", "name": "Bash"},
}
_MODES = {"none": "none", "any": "required", "auto": "auto"}
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.__name__)
sizes = pytest.mark.parametrize("agent", [False, True], ids=["few tools", "agent"])


class _Nowhere:
    url = "http://127.0.0.1:9"


class Session:
    """A client without an SDK, that sends its requests as they are."""

    def __init__(self, farm: Farm, client: Any, *, agent: bool) -> None:
        self.api = client.api
        self._farm = farm
        self._name, self._session = user(), secrets.token_hex(4)
        self._client = client(_Nowhere, self._name)
        self._client.hear(events(secrets.token_hex(4)))
        about = "Run a command. " * (400 if agent else 1)
        schema = {"type": "object", "properties": {}}
        function = {"name": "Bash", "description": about, "parameters": schema}
        self.tools: list[Any] = [
            {
                Anthropic: {"name": "Bash", "description": about, "input_schema": schema},
                Chat: {"type": "function", "function": function},
                Responses: {"type": "function", **function},
            }[self.api]
        ]

    def choice(self, name: str) -> Any:
        if name == "named":
            return _NAMED[self.api]
        return {"type": name} if self.api is Anthropic else _MODES[name]

    def ask(self, **more: Any) -> Any:
        body = {"model": "m", self.api.array: self._client.talk, "tools": self.tools, **more}
        if self.api is Responses:
            body["store"] = False
        headers = {"x-maas-username": self._name, "x-headroom-session-id": self._session}
        answer = post(self._farm.url, body, headers, self.api.path)
        assert answer.status == 200
        return answer.json

    def go_on(self) -> None:
        self._client.talk.append({"role": "assistant", "content": END[1]})
        self._client.go_on()


@every_client
@sizes
@pytest.mark.parametrize("choice", ["none", "any", "named"])
def test_request_that_leaves_no_choice_gets_no_marker(
    proxy: Farm, provider: ScriptedProvider, client: Any, agent: bool, choice: str
) -> None:
    one = Session(proxy, client, agent=agent)
    provider.will_say(say(one.api, END, stream=False))
    one.ask(tool_choice=one.choice(choice))
    assert names_of(provider.asked[0]) == ["Bash"]
    assert not HASH.search(provider.asked[0].body.decode())


@pytest.mark.parametrize("client", [ChatClient, ResponsesClient], ids=lambda c: c.__name__)
def test_allowed_tools_are_not_extended(
    proxy: Farm, provider: ScriptedProvider, client: Any
) -> None:
    one = Session(proxy, client, agent=True)
    provider.will_say(say(one.api, END, stream=False))
    one.ask(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": []})
    assert names_of(provider.asked[0]) == ["Bash"]
    assert not HASH.search(provider.asked[0].body.decode())


@every_client
@sizes
@pytest.mark.parametrize("choice", ["none", "any", "named"])
def test_sessions_prefix_survives_a_change_of_choice(
    proxy: Farm, provider: ScriptedProvider, client: Any, agent: bool, choice: str
) -> None:
    one = Session(proxy, client, agent=agent)
    provider.will_say(*[say(one.api, END, stream=False)] * 3)
    one.ask()
    one.go_on()
    one.ask(tool_choice=one.choice(choice))
    one.go_on()
    one.ask(tool_choice=one.choice("auto"))
    asked = provider.asked
    assert names_of(asked[0]) == ["Bash", RETRIEVE]
    assert HASH.search(array_of(one.api, asked[0]))
    for before, after in pairwise(asked):
        assert after.json["tools"] == before.json["tools"]
        assert array_of(one.api, after).startswith(array_of(one.api, before))


@every_client
def test_demanded_call_is_one_of_the_clients_tools(
    proxy: Farm, provider: ScriptedProvider, client: Any
) -> None:
    one = Session(proxy, client, agent=False)
    provider.will_say(
        say(one.api, END, stream=False),
        *[say(one.api, ("get", f"r{n}"), stream=False) for n in range(MAX_ROUNDS)],
        say(one.api, OWN, stream=False),
    )
    one.ask()
    one.go_on()
    demanded = one.choice("any")
    answer = one.ask(tool_choice=demanded)
    assert "Bash" in json.dumps(answer)
    rounds = provider.asked[1:]
    assert len(rounds) == MAX_ROUNDS + 1
    assert [asked.json["tool_choice"] for asked in rounds] == [demanded] * len(rounds)
    assert names_of(rounds[-2]) == ["Bash", RETRIEVE]
    assert names_of(rounds[-1]) == ["Bash"]


@pytest.mark.parametrize("retrieves", [False, True])
def test_agents_small_requests_are_not_offered_the_tool(
    proxy: Farm, provider: ScriptedProvider, retrieves: bool
) -> None:
    """Claude Code asks for a title in the session, without tools."""
    one = Session(proxy, AnthropicClient, agent=True)
    provider.will_say(
        *[say(Anthropic, ("get", "r1"), stream=False)] * retrieves,
        *[say(Anthropic, END, stream=False)] * 2,
    )
    one.ask()
    one._client.talk = [{"role": "user", "content": "A title, please."}]
    one.tools = []
    one.ask()
    assert provider.asked[-1].json["tools"] == []
