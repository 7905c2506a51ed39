"""Tool definitions as the provider gets them."""

from __future__ import annotations

import pytest

from ..farm import Farm, post
from ..texts import events as log
from .scripted import ScriptedProvider, whole
from .test_passing import KEY, turns


@pytest.mark.parametrize(
    ("path", "array"),
    [
        ("/v1/messages", "messages"),
        ("/v1/messages/count_tokens", "messages"),
        ("/v1/chat/completions", "messages"),
        ("/v1/responses", "input"),
    ],
)
def test_tool_definitions_lose_what_means_nothing(
    proxy: Farm, provider: ScriptedProvider, path: str, array: str
) -> None:
    provider.will_say(whole({"ok": True}), whole({"ok": True}))
    cut = (rb"  \n\n\n\n", rb"\n\n")
    schema = b'"$schema" : "https://json-schema.org/draft/2020-12/schema", '
    tool = (
        b'{"name": "t%d", "x": 1.50, "description": "Runs \\u00e4.  \\n\\n\\n\\nThen  waits.",'
        b' "input_schema": {' + schema + b'"type": "object", "properties": {}}}'
    )
    tools = b" [ " + b" ,".join(tool % number for number in range(100)) + b"\n]"
    raw = b'{"%b": [{"role": "user", "content": "Hi"}],"tools":%b, "model": "claude-x"}'
    raw %= (array.encode(), tools)
    answer = post(proxy.url, raw, KEY, path)
    sent = provider.asked[0].body
    assert sent == raw.replace(schema, b"").replace(*cut)
    assert int(answer.headers["x-headroom-tokens-saved"]) == (len(raw) - len(sent)) // 4
    post(proxy.url, raw, {**KEY, "x-headroom-bypass": "true"}, path)
    assert provider.asked[1].body == raw


def test_the_farms_tool_follows_the_cut_definitions(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    provider.will_say(whole({"ok": True}))
    own = [{"name": f"t{n}", "description": "Does one thing well. \n" * 9} for n in range(40)]
    post(proxy.url, {**turns(log()), "tools": own}, KEY, "/v1/messages")
    *first, last = provider.asked[0].json["tools"]
    said = "\n".join(["Does one thing well."] * 9)
    assert first == [{**tool, "description": said} for tool in own]
    assert last["name"] == "headroom_retrieve"
