"""Clients that use the official SDKs, and the scripted model that they talk to."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from ..farm import Farm
from .saying import Anthropic, Chat, Responses
from .scripted import Asked, Said

THINK, TEXT, END = ("think", "Hm."), ("text", "Let me look."), ("text", "It is done.")
OWN = ("own", "c1")
HASH = re.compile(r"(?:<<ccr:|hash=)([0-9a-f]{12,24})")


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
        found = HASH.findall(json.dumps(asked.json[api.array]))
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
