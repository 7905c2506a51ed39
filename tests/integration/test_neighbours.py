"""Real clients of the farm: headroom's MCP server and LiteLLM's guardrail."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..documented import examples
from ..farm import Farm, post, request, user
from ..texts import conversation, events, ran

GATEWAY, LITELLM, ADA = (f"token-of-{name}-0123456789" for name in ("gateway", "litellm", "ada"))
SERVICE = "http://headroom-api.headroom-farm.svc:8788"
EXAMPLES = examples("docs/integration.md")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with three tokens: of a gateway that acts for users, of LiteLLM, and of a user."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens = directory / "tokens.json"
    entries = [
        {"tenant": "gateway", "token": GATEWAY, "scopes": ["compress"], "trusted": True},
        {"tenant": "litellm", "token": LITELLM, "scopes": ["compress", "retrieve"]},
        {"tenant": "ada", "token": ADA, "scopes": ["retrieve"], "user": "ada"},
    ]
    tokens.write_text(json.dumps(entries))
    farm = Farm(directory, tokens_file=tokens)
    try:
        yield farm.start(gpu=0)
    finally:
        farm.stop()


def _retrieved_by_mcp(farm: Farm, url: str, workspace: Path, *digests: str) -> list[str]:
    """Start headroom's MCP server as documented and return its answer to each retrieval."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    server_of = json.loads(EXAMPLES["mcp"])["mcpServers"]["headroom"]
    (variable,) = server_of["env"]

    async def retrieve() -> list[str]:
        server = StdioServerParameters(
            command=str(Path(sys.executable).parent / server_of["command"]),
            args=server_of["args"],
            env={**farm.environment, "HEADROOM_WORKSPACE_DIR": str(workspace), variable: url},
        )
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            answers = [
                await session.call_tool("headroom_retrieve", {"hash": digest}) for digest in digests
            ]
            return [str(answer.content[0].text) for answer in answers]

    return asyncio.run(retrieve())


def test_headrooms_mcp_server_retrieves_original(farm: Farm, tmp_path: Path) -> None:
    # The MCP server sends no user header, so its user is the anonymous one.
    digest = post(farm.url, conversation(ran(events(user())))).json["ccr_hashes"][0]
    found, missed = _retrieved_by_mcp(farm, farm.url, tmp_path, digest, "abcdefabcdef")
    assert "step 399 of the build" in found
    assert "step" not in missed


def test_headrooms_mcp_server_sends_token_from_address(guarded: Farm, tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {GATEWAY}", "x-maas-username": "ada"}
    body = conversation(ran(events(user())))
    digest = post(guarded.url, body, headers).json["ccr_hashes"][0]
    (documented,) = json.loads(EXAMPLES["mcp"])["mcpServers"]["headroom"]["env"].values()
    address = documented.replace(
        SERVICE.removeprefix("http://"), guarded.url.removeprefix("http://")
    )
    assert address != documented
    for secret, allowed in ((f"any:{ADA}", True), (f"ada:{LITELLM}", False)):
        given = address.replace("any:TOKEN", secret)
        (said,) = _retrieved_by_mcp(guarded, given, tmp_path, digest)
        assert ("step 399 of the build" in said) is allowed, secret


@pytest.mark.parametrize(
    "given", ["Basic", "Basic !", "Basic /w==", "Basic YWRh", "Basic YWRhOg=="]
)
def test_rejects_basic_credentials_without_token(guarded: Farm, given: str) -> None:
    answer = request(
        guarded.url, "GET", "/v1/retrieve/abcdefabcdef", None, {"authorization": given}
    )
    assert answer.status == 401


class _Model(ThreadingHTTPServer):
    """An OpenAI endpoint whose model retrieves the first marker, then repeats the original."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Completions)
        self.asked: list[Any] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Completions(BaseHTTPRequestHandler):
    server: _Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        message: dict[str, Any] = {"role": "assistant", "content": "seen"}
        if len(self.server.asked) == 1:
            marker = re.search(r"(?:hash=|<<ccr:)([a-f0-9]{12,24})", json.dumps(body["messages"]))
            assert marker
            arguments = json.dumps({"hash": marker[1], "query": "step"})
            function = {"name": "headroom_retrieve", "arguments": arguments}
            call = {"id": "c1", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        data = json.dumps(
            {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o",
             "choices": [choice], "usage": {}}
        ).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def model() -> Iterator[_Model]:
    server = _Model()
    yield server
    server.shutdown()
    server.server_close()


_GUARDRAIL = """
import asyncio, json, re, sys
import litellm
from litellm.proxy.guardrails.guardrail_hooks.headroom import initialize_guardrail
from litellm.secret_managers.main import get_secret
from litellm.types.guardrails import LitellmParams
guardrail, model_url, messages = json.load(sys.stdin)

async def main():
    # As LiteLLM's registry does, which needs the whole proxy installed.
    params = LitellmParams(**guardrail["litellm_params"])
    params.api_key = str(get_secret(params.api_key))
    rail = initialize_guardrail(params, guardrail)
    litellm.callbacks = [rail]
    data = {"messages": messages, "litellm_call_id": "call", "metadata": {}}
    out = await rail.apply_guardrail({"structured_messages": messages}, data, "request")
    # The guardrail's notes on the request are passed on under LiteLLM's own names.
    request = {name: value for name, value in data.items() if name != "messages"}
    # LiteLLM's own loop: it calls the model, finds the call in its answer, has the guardrail
    # retrieve and calls the model again.
    answer = await litellm.acompletion(
        model="openai/gpt-4o", api_base=model_url, api_key="none",
        messages=out["structured_messages"], tools=out["tools"], **request,
    )
    # The loop of the other two APIs, by the same class.
    digest = re.search(r"(?:hash=|<<ccr:)([a-f0-9]{24})", json.dumps(out))[1]
    arguments = {"hash": digest}
    use = {"type": "tool_use", "id": "c1", "name": "headroom_retrieve", "input": arguments}
    item = {"type": "function_call", "call_id": "c1", "name": "headroom_retrieve",
            "arguments": json.dumps(arguments)}
    others = []
    for response in ({"role": "assistant", "content": [use]}, {"output": [item]}):
        run, calls = await rail.async_should_run_agentic_loop(
            response, "m", [], out["tools"], False, "x", {})
        assert run, response
        plan = await rail.async_build_agentic_loop_plan(
            calls, "m", [], response, None, {}, None, False, request)
        others.append(plan.request_patch.messages[-1])
    print(json.dumps([out, answer.choices[0].message.content, others]))

asyncio.run(main())
"""


def test_litellms_guardrail_compresses_and_retrieves(guarded: Farm, model: _Model) -> None:
    asked, answered = (json.loads(EXAMPLES[f"{part} compress"]) for part in ("ask", "answer"))
    text = asked["messages"][2]["content"]
    later = [{"role": "assistant", "content": "done"}, {"role": "user", "content": "and now?"}]
    (guardrail,) = yaml.safe_load(EXAMPLES["litellm"])["guardrails"]
    parameters = guardrail["litellm_params"]
    assert parameters["api_base"] == SERVICE
    parameters["api_base"] = guarded.url
    address = f"http://127.0.0.1:{model.server_port}"
    done = subprocess.run(
        [sys.executable, "-c", _GUARDRAIL],
        input=json.dumps([guardrail, address, [*asked["messages"], *later]]),
        env={
            **guarded.environment,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            parameters["api_key"].removeprefix("os.environ/"): LITELLM,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out, said, (anthropic, responses) = json.loads(done.stdout.splitlines()[-1])
    assert out["structured_messages"][2] == answered["messages"][2]
    assert out["tools"][0]["function"]["name"] == "headroom_retrieve"
    first, second = model.asked
    assert first["messages"][2] == out["structured_messages"][2]
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": text}
    assert said == "seen"
    result = {"type": "tool_result", "tool_use_id": "c1", "content": text}
    assert anthropic == {"role": "user", "content": [result]}
    assert (responses["type"], responses["output"]) == ("function_call_output", text)
