"""LiteLLM's proxy server, with the guardrail configured as in its documentation.

It is not among the tests' requirements: the proxy needs 600 MB of packages, some of which conflict
with the farm's. ``make litellm`` installs it in a separate environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from deploy.ports import free_port

from ..documented import examples
from ..farm import Farm, Process, post, request, until
from ..texts import events, rows
from .scripted import SAID, Provider

SERVER = Path(sys.prefix) / "litellm" / "bin" / "litellm"
if not SERVER.exists():
    pytest.skip(
        "LITELLM'S PROXY IS NOT INSTALLED: no call goes through it; `make litellm` installs it",
        allow_module_level=True,
    )

KEY = "sk-of-the-tests"
LOG = events("litellm")


class Gateway(NamedTuple):
    """LiteLLM's server at ``url``, and the farm and the provider that it uses."""

    url: str
    farm: Farm
    provider: Provider

    def ask(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        """Send a request to the gateway; return its answer, or a stream's events."""
        self.provider.asked.clear()
        given = {"authorization": f"Bearer {KEY}", **headers}
        answer = post(self.url, body, given, path)
        assert answer.status == 200, answer.body
        if not body.get("stream"):
            return answer.json
        lines = [line[6:] for line in answer.body.decode().split("\n") if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]


def _configuration(farm: Farm, provider: Provider) -> dict[str, Any]:
    (guardrail,) = yaml.safe_load(examples("docs/integration.md")["litellm"])["guardrails"]
    guardrail["litellm_params"] |= {"api_base": farm.url}
    del guardrail["litellm_params"]["api_key"]  # this farm requires no tokens
    chat = {"model": "openai/gpt-4o", "api_base": f"{provider.url}/v1", "api_key": "none"}
    messages = {"model": "anthropic/claude-sonnet-4-20250514", "api_base": provider.url}
    return {
        "model_list": [
            {"model_name": "gpt", "litellm_params": chat},
            {"model_name": "claude", "litellm_params": {**messages, "api_key": "none"}},
        ],
        "guardrails": [guardrail],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False},
    }


@pytest.fixture(scope="module")
def gateway(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("litellm")
    provider = Provider()
    config = directory / "config.yaml"
    config.write_text(yaml.safe_dump(_configuration(farm, provider)))
    port = free_port()
    environment = {
        **os.environ,
        "HOME": str(directory),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(SERVER), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    server = Process.run(command, environment, directory / "litellm.log", directory)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert server.alive, server.log.read_text()[-4000:]
        try:
            return request(url, "GET", "/health/liveliness").status == 200
        except OSError:
            return False

    try:
        until("LiteLLM answers", ready, 180)
        yield Gateway(url, farm, provider)
    finally:
        server.stop()
        provider.stop()


def _chat(*more: dict[str, Any], **options: Any) -> dict[str, Any]:
    function = {"name": "Bash", "arguments": json.dumps({"command": "make"})}
    return {
        "model": "gpt",
        "messages": [
            {"role": "user", "content": "does it build"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "a", "content": LOG},
            {"role": "assistant", "content": "it does"},
            {"role": "user", "content": "and now?"},
            *more,
        ],
        **options,
    }


def _messages(**options: Any) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "a", "name": "Bash", "input": {"command": "make"}}
    answer = {"type": "tool_result", "tool_use_id": "a", "content": LOG}
    tool = {"name": "Bash", "description": "runs it", "input_schema": {"type": "object"}}
    return {
        "model": "claude",
        "max_tokens": 1000,
        "tools": [tool],
        "messages": [
            {"role": "user", "content": "does it build"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [answer]},
            {"role": "assistant", "content": [{"type": "text", "text": "it does"}]},
            {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
        ],
        **options,
    }


def _asked_twice(gateway: Gateway, path: str) -> None:
    """Check that the provider got the shortened log, then the original that the model requested."""
    (first_path, first), (second_path, second) = gateway.provider.asked
    assert first_path == second_path == path
    assert "lines omitted in all" in json.dumps(first["messages"])
    assert json.dumps(LOG)[1:-1] not in json.dumps(first["messages"])
    assert json.dumps(LOG)[1:-1] in json.dumps(second["messages"])


def test_chat_completion_is_compressed_and_retrieved(gateway: Gateway) -> None:
    answer = gateway.ask("/v1/chat/completions", _chat())
    assert answer["choices"][0]["message"]["content"] == SAID
    _asked_twice(gateway, "/v1/chat/completions")


def test_streamed_chat_completion_is_one_answer(gateway: Gateway) -> None:
    chunks = gateway.ask("/v1/chat/completions", _chat(stream=True))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == SAID
    assert not any(delta.get("tool_calls") for delta in deltas)
    _asked_twice(gateway, "/v1/chat/completions")


def test_message_is_compressed_and_retrieved(gateway: Gateway) -> None:
    answer = gateway.ask("/v1/messages", _messages())
    assert [block.get("text") for block in answer["content"]] == [SAID]
    _asked_twice(gateway, "/v1/messages")


def test_streamed_message_is_one_answer(gateway: Gateway) -> None:
    parts = gateway.ask("/v1/messages", _messages(stream=True))
    deltas = [one["delta"] for one in parts if one["type"] == "content_block_delta"]
    assert "".join(delta.get("text") or "" for delta in deltas) == SAID
    assert "headroom_retrieve" not in json.dumps(parts)
    _asked_twice(gateway, "/v1/messages")


def test_user_can_have_the_original_conversation(gateway: Gateway) -> None:
    gateway.ask("/v1/chat/completions", _chat(), **{"x-headroom-bypass": "true"})
    ((_, sent),) = gateway.provider.asked
    assert json.dumps(LOG)[1:-1] in json.dumps(sent["messages"])


def test_tool_results_stay_as_sent_in_later_turns(gateway: Gateway) -> None:
    """LiteLLM leaves out different messages in each turn; messages already sent must not change."""
    gateway.ask("/v1/chat/completions", _chat())
    before = gateway.provider.asked[0][1]["messages"]
    function = {"name": "Bash", "arguments": json.dumps({"command": "ls"})}
    call = {"id": "b", "type": "function", "function": function}
    more = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "b", "content": rows("b")},
        {"role": "assistant", "content": "these"},
        {"role": "user", "content": "which of them failed, and why?"},
    ]
    gateway.ask("/v1/chat/completions", _chat(*more))
    after = gateway.provider.asked[0][1]["messages"]
    assert after[: len(before)] == before
