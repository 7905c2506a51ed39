"""Tool definitions as the provider receives them: the client's, then the farm's."""

from __future__ import annotations

from typing import Any

import pytest

from api.provider.api_shapes import CHAT, MESSAGES, RESPONSES, Shape

from ..farm import Farm, post
from ..texts import events as log
from .saying import RETRIEVE
from .scripted import ScriptedProvider, whole
from .test_passing import KEY, turns

_OK = whole({"ok": True})
_OWN: list[dict[str, Any]] = [
    {"name": f"t{n}", "description": "Does one thing well. \n" * 9} for n in range(40)
]


def _conversation(begin: str) -> dict[str, Any]:
    """Return a request of a conversation that no other test has: its tools stay as once offered."""
    request = turns(log())
    request["messages"][0]["content"] = begin
    return {**request, "tools": _OWN}


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", MESSAGES),
        ("/v1/messages/count_tokens", MESSAGES),
        ("/v1/chat/completions", CHAT),
        ("/v1/responses", RESPONSES),
    ],
)
def test_definitions_lose_only_meaningless_parts(
    proxy: Farm, provider: ScriptedProvider, path: str, shape: Shape
) -> None:
    provider.will_say(_OK, _OK)
    schema = b'"$schema" : "https://json-schema.org/draft/2020-12/schema", '
    tool = (
        b'{"name": "t%d", "x": 1.50, "description": "Runs \\u00e4.  \\n\\n\\n\\nThen  waits.",'
        b' "input_schema": {' + schema + b'"type": "object", "properties": {}}}'
    )
    tools = b" [ " + b" ,".join(tool % number for number in range(100)) + b"\n]"
    raw = b'{"%b": [{"role": "user", "content": "Hi"}],"tools":%b, "store":false, "model":"x"}'
    raw %= (shape.requests.array.encode(), tools)
    answer = post(proxy.url, raw, KEY, path)
    left = raw.replace(schema, b"").replace(rb"  \n\n\n\n", rb"\n\n")
    offered = b"\n," + shape.requests.tool + b"]"
    assert provider.asked[0].body == left.replace(b"\n]", offered)
    assert int(answer.headers["x-headroom-tokens-saved"]) == (len(raw) - len(left)) // 4
    post(proxy.url, raw, {**KEY, "x-headroom-bypass": "true"}, path)
    assert provider.asked[1].body == raw


def test_agents_are_offered_the_tool_before_any_marker(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    """Offering it with the first marker would invalidate the provider's cache."""
    provider.will_say(_OK, _OK)
    later = _conversation("An agent begins.")
    first = {**later, "messages": later["messages"][:1]}
    for request in (first, later):
        post(proxy.url, request, KEY, "/v1/messages")
    sent = [asked.json for asked in provider.asked]
    assert [tool["name"] for tool in sent[0]["tools"]] == [*(t["name"] for t in _OWN), RETRIEVE]
    assert sent[1]["tools"] == sent[0]["tools"]
    assert RETRIEVE not in str(sent[0]["messages"])


def test_without_markers_nothing_is_offered(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(_OK, _OK)
    asked = {**_conversation("No markers."), "max_tokens": 9}
    post(proxy.url, {**asked, "mode": "marker-free"}, KEY, "/v1/messages")
    assert RETRIEVE not in str(provider.asked[0].json)
    served = [{"name": f"headroom__{RETRIEVE}"}, *_OWN]
    post(proxy.url, {**asked, "tools": served}, KEY, "/v1/messages")
    assert len(provider.asked[1].json["tools"]) == len(served)
