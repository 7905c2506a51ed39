"""Neighbours that exist, run for real: headroom's MCP server, LiteLLM's guardrail."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from ..farm import Farm, post, user
from ..texts import conversation, events, openai_ran, ran


def test_headrooms_mcp_server_retrieves_what_the_farm_compressed(
    farm: Farm, tmp_path: Path
) -> None:
    text = events(user())
    # The MCP server sends no user header, so its user is the anonymous one.
    digest = post(farm.url, conversation(ran(text))).json["ccr_hashes"][0]

    async def retrieve(wanted: str) -> str:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "headroom.ccr.mcp_server", "--proxy-url", farm.url],
            env={**farm.environment, "HEADROOM_WORKSPACE_DIR": str(tmp_path)},
        )
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            answer = await session.call_tool("headroom_retrieve", {"hash": wanted})
            return str(answer.content[0].text)

    assert "step 399 of the build" in asyncio.run(retrieve(digest))
    assert "step" not in asyncio.run(retrieve("abcdefabcdef"))


_GUARDRAIL = """
import asyncio, json, sys
from litellm.proxy.guardrails.guardrail_hooks.headroom.headroom import HeadroomGuardrail
url, messages = json.load(sys.stdin)

async def main():
    rail = HeadroomGuardrail(api_base=url, api_key="a-key-of-litellm", guardrail_name="h")
    data = {"messages": messages, "litellm_call_id": "call", "metadata": {}}
    out = await rail.apply_guardrail({"structured_messages": messages}, data, "request")
    (digest, *_), _until = rail._issued_hashes_by_call_id["call"]
    arguments = {"hash": digest, "query": "step"}
    calls = {"tool_calls": [{"id": "c1", "name": "headroom_retrieve", "arguments": arguments}]}
    function = {"name": "headroom_retrieve", "arguments": json.dumps(arguments)}
    call = {"id": "c1", "type": "function", "function": function}
    response = {"choices": [{"message": {"role": "assistant", "tool_calls": [call]}}]}
    plan = await rail.async_build_agentic_loop_plan(
        calls, "gpt-4o", out["structured_messages"], response, None, {}, None, False,
        {"litellm_call_id": "call"},
    )
    print(json.dumps([out, plan.request_patch.messages[-1]]))

asyncio.run(main())
"""


def test_litellms_guardrail_compresses_and_retrieves(farm: Farm) -> None:
    text = events(user())
    later = [{"role": "assistant", "content": "done"}, {"role": "user", "content": "and now?"}]
    messages = [*conversation(openai_ran(text))["messages"], *later]
    done = subprocess.run(
        [sys.executable, "-c", _GUARDRAIL],
        input=json.dumps([farm.url, messages]),
        env={**farm.environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out, result = json.loads(done.stdout.splitlines()[-1])
    assert len(out["structured_messages"][2]["content"]) < len(text) / 2
    assert out["tools"][0]["function"]["name"] == "headroom_retrieve"
    assert result == {"role": "tool", "tool_call_id": "c1", "content": text}
