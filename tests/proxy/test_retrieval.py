"""Retrieval within a client's turn, from the view of the official SDKs and of the provider."""

from __future__ import annotations

import http.client
import json
import re
import secrets
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from api.provider.provider_interface import MAX_ROUNDS
from deploy.ports import free_port
from shared.python_command import python_module

from ..farm import Farm, Process, post, request, until, user
from ..texts import events
from .rules import broken_rule
from .saying import RETRIEVE, Anthropic, Chat, Responses
from .scripted import Asked, Said, ScriptedProvider, whole

THINK, TEXT, END = ("think", "Hm."), ("text", "Let me look."), ("text", "It is done.")
OWN = ("own", "c1")
_HASH = re.compile(r"(?:<<ccr:|hash=)([0-9a-f]{12,24})")


class AnthropicClient:
    """A client that uses Anthropic's SDK."""

    api = Anthropic

    def __init__(self, farm: Any, name: str) -> None:
        import anthropic

        headers = {"x-maas-username": name}
        self._sdk = anthropic.Anthropic(
            base_url=farm.url, api_key="sk", max_retries=0, default_headers=headers
        )
        self.talk: list[Any] = []

    def hear(self, text: str) -> None:
        call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "x"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": text}
        self.talk = [
            {"role": "user", "content": f"Look. {secrets.token_hex(4)}"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": "And?"},
        ]

    def ask(self, *, stream: bool) -> Any:
        tools: Any = [{"name": "Bash", "input_schema": {"type": "object"}}]
        given: Any = {"model": "claude-x", "max_tokens": 99, "messages": self.talk, "tools": tools}
        if stream:
            with self._sdk.messages.stream(**given) as running:
                answer = running.get_final_message()
        else:
            answer = self._sdk.messages.create(**given)
        content = [block.model_dump(exclude_none=True) for block in answer.content]
        for block in content:
            block.pop("parsed_output", None)
        if content:
            self.talk.append({"role": "assistant", "content": content})
        return answer

    def go_on(self, identity: str = "") -> None:
        result = {"type": "tool_result", "tool_use_id": identity, "content": "ok"}
        self.talk.append({"role": "user", "content": [result] if identity else "Go on."})

    @staticmethod
    def told(answer: Any) -> tuple[list[str], int, int]:
        kinds = [block.type for block in answer.content]
        return kinds, answer.usage.input_tokens, answer.usage.output_tokens


class ChatClient(AnthropicClient):
    """A client that uses OpenAI's SDK for Chat Completions."""

    api: Any = Chat

    def __init__(self, farm: Farm, name: str) -> None:
        import openai

        self._openai = openai.OpenAI(
            base_url=f"{farm.url}/v1",
            api_key="sk",
            max_retries=0,
            default_headers={"x-maas-username": name},
        )
        self.talk = []

    def hear(self, text: str) -> None:
        function = {"name": "Bash", "arguments": "{}"}
        call = {"id": "call_1", "type": "function", "function": function}
        self.talk = [
            {"role": "user", "content": f"Look. {secrets.token_hex(4)}"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": text},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": "And?"},
        ]

    def ask(self, *, stream: bool) -> Any:
        tools: Any = [{"type": "function", "function": {"name": "Bash", "parameters": {}}}]
        given: Any = {"model": "gpt-x", "messages": self.talk, "tools": tools}
        if stream:
            with self._openai.chat.completions.stream(
                **given, stream_options={"include_usage": True}
            ) as running:
                answer = running.get_final_completion()
        else:
            answer = self._openai.chat.completions.create(**given)
        message = answer.choices[0].message.model_dump(exclude_none=True)
        message.pop("parsed", None)
        for call in message.get("tool_calls", []):
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        self.talk.append(message)
        return answer

    def go_on(self, identity: str = "") -> None:
        result = {"role": "tool", "tool_call_id": identity, "content": "ok"}
        self.talk.append(result if identity else {"role": "user", "content": "Go on."})

    @staticmethod
    def told(answer: Any) -> tuple[list[str], int, int]:
        message, usage = answer.choices[0].message, answer.usage
        kinds = ["text"] if message.content else []
        kinds += ["tool_use" for _ in message.tool_calls or []]
        return kinds, usage.prompt_tokens, usage.completion_tokens


class ResponsesClient(ChatClient):
    """A client that uses OpenAI's SDK for Responses, without storage."""

    api = Responses

    def hear(self, text: str) -> None:
        call = {"type": "function_call", "call_id": "call_1", "name": "Bash", "arguments": "{}"}
        self.talk = [
            {"role": "user", "content": f"Look. {secrets.token_hex(4)}"},
            call,
            {"type": "function_call_output", "call_id": "call_1", "output": text},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": "And?"},
        ]

    def ask(self, *, stream: bool) -> Any:
        tools: Any = [{"type": "function", "name": "Bash", "parameters": {}, "strict": False}]
        given: Any = {"model": "gpt-x", "input": self.talk, "tools": tools, "store": False}
        if stream:
            with self._openai.responses.stream(**given) as running:
                answer = running.get_final_response()
        else:
            answer = self._openai.responses.create(**given)
        for item in answer.output:
            said = item.model_dump(exclude_none=True)
            said.pop("parsed_arguments", None)
            for part in said.get("content", []) if said["type"] == "message" else []:
                part.pop("parsed", None)
            self.talk.append(said)
        return answer

    def go_on(self, identity: str = "") -> None:
        result = {"type": "function_call_output", "call_id": identity, "output": "ok"}
        self.talk.append(result if identity else {"role": "user", "content": "Go on."})

    @staticmethod
    def told(answer: Any) -> tuple[list[str], int, int]:
        names = {"message": "text", "reasoning": "thinking", "function_call": "tool_use"}
        kinds = [names[item.type] for item in answer.output]
        return kinds, answer.usage.input_tokens, answer.usage.output_tokens


CLIENTS = [AnthropicClient, ChatClient, ResponsesClient]
every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.__name__)
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def say(api: Any, *parts: Any, stream: bool) -> Callable[[Asked], Said]:
    """Answer with these parts; ``get`` retrieves the last marker of the request."""

    def answer(asked: Asked) -> Said:
        found = _HASH.findall(json.dumps(asked.json[api.array]))
        named = [
            ("get", part[1], part[2] if len(part) > 2 else found[-1]) if part[0] == "get" else part
            for part in parts
        ]
        return Said(api.events(*named)) if stream else api.plain(*named)

    return answer


def names_of(asked: Asked) -> list[str]:
    """Return the names of a request's tools."""
    return [(tool.get("function") or tool)["name"] for tool in asked.json["tools"]]


def array_of(api: Any, asked: Asked) -> str:
    """Return the content of a request's array of messages, without the brackets."""
    raw = asked.body.decode()
    start = raw.index("[", raw.index(f'"{api.array}"'))
    depth = 0
    decoder = json.JSONDecoder()
    _, end = decoder.raw_decode(raw, start)
    assert not depth
    return raw[start + 1 : end - 1]


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
    assert _HASH.search(provider.asked[0].body.decode())


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
