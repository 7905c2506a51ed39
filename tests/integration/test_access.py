"""Bearer tokens, users and tool calls, against a farm that requires tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.demo import demo
from shared import keys
from shared.errors import DemoError

from ..farm import Answer, Farm, post, request, user
from ..texts import conversation, events, ran

PLAIN, OTHER, GATEWAY = "plain-token-0123456789", "other-token-0123456789", "gateway-token-012345"


def entry(tenant: str, token: str, *scopes: str, **more: Any) -> dict[str, Any]:
    return {"tenant": tenant, "token": token, "scopes": list(scopes), **more}


def compress(farm: Farm, seed: str, token: str, name: str = "") -> Answer:
    return post(farm.url, conversation(ran(events(seed))), headers(token, name))


def headers(token: str, name: str = "") -> dict[str, str]:
    given = {"authorization": f"Bearer {token}"} if token else {}
    return {**given, "x-maas-username": name} if name else given


def get(farm: Farm, digest: str, token: str, name: str = "") -> Answer:
    return request(farm.url, "GET", f"/v1/retrieve/{digest}?query=q", None, headers(token, name))


def test_tokens_decide_access_and_user(own_farm: Callable[..., Farm], tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    hidden = {"tenant": "other", "sha256": hashlib.sha256(OTHER.encode()).hexdigest()}
    entries = [
        entry("plain", PLAIN, "compress", "retrieve"),
        {**hidden, "scopes": ["retrieve"]},
        entry("gateway", GATEWAY, "compress", "retrieve", trusted=True),
    ]
    path.write_text(json.dumps(entries))
    farm = own_farm(tokens_file=path).start(gpu=0)
    for token in ("", "wrong-token-0123456789", PLAIN + "x"):
        refused = compress(farm, "a", token)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.headers["x-request-id"]
    assert compress(farm, "a", OTHER).status == 403
    assert request(farm.url, "GET", "/metrics", None, headers(PLAIN)).status == 403
    assert request(farm.url, "GET", "/livez").status == 200

    digest = compress(farm, "a", PLAIN).json["ccr_hashes"][0]
    assert get(farm, digest, PLAIN).json["original_content"] == events("a")
    for token, name in ((OTHER, ""), (OTHER, "plain"), (PLAIN, "x"), (GATEWAY, "ada")):
        assert get(farm, digest, token, name).json["error"]["type"] == "unknown_hash"
    digest = compress(farm, "b", GATEWAY, "ada").json["ccr_hashes"][0]
    assert get(farm, digest, GATEWAY, "ada").status == 200
    assert get(farm, digest, PLAIN, "ada").status == 404

    with pytest.raises(DemoError, match="401"):
        demo(farm.url)
    with pytest.raises(
        DemoError, match=r"not compressed: text \(no_workers\)"
    ):  # its pool has no worker
        demo(farm.url, PLAIN)

    path.write_text("not json")
    assert compress(farm, "a", PLAIN).status == 200
    path.write_text(json.dumps([entry("plain", "rotated-token-0123456", "compress")]))
    assert compress(farm, "a", PLAIN).status == 401
    assert compress(farm, "a", "rotated-token-0123456").status == 200
    assert PLAIN not in farm.logs()
    assert "tokens_file_refused" in farm.logs()


def test_missing_tokens_file_rejects_all_requests(
    own_farm: Callable[..., Farm], tmp_path: Path
) -> None:
    farm = own_farm(tokens_file=tmp_path / "none.json").start(cpu=0, gpu=0)
    assert compress(farm, "a", PLAIN).status == 401


def test_ignores_user_header_of_untrusted_peer(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(trusted_peers="10.0.0.0/8, ::1/128").start(gpu=0)
    digest = compress(farm, "a", "", "ada").json["ccr_hashes"][0]
    assert farm.redis.exists(keys.original(keys.user_tag("anonymous"), digest))
    assert not farm.redis.exists(keys.original(keys.user_tag("ada"), digest))


def test_without_tokens_file_each_token_is_a_user(farm: Farm) -> None:
    digest = compress(farm, user(), PLAIN).json["ccr_hashes"][0]
    assert get(farm, digest, PLAIN).status == 200
    assert get(farm, digest, OTHER).status == 404
    assert get(farm, digest, "").status == 404


@pytest.mark.parametrize("name", ["a\tb", "x" * 257])
def test_rejects_invalid_user_name(farm: Farm, name: str) -> None:
    got = post(farm.url, {"messages": []}, {"x-maas-username": name, "x-request-id": "r-1"})
    assert got.status == 400
    assert got.headers["x-request-id"] == "r-1"


def test_distinguishes_expired_from_unknown_hash(farm: Farm) -> None:
    name = user()
    digest = farm.post(conversation(ran(events(name))), name).json["ccr_hashes"][0]
    farm.redis.delete(keys.original(keys.user_tag(name), digest))
    gone = request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": name})
    assert (gone.status, gone.json["error"]["type"]) == (404, "expired")
    assert "7200 s" in gone.json["error"]["message"]
    other = request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": user()})
    assert other.json["error"]["type"] == "unknown_hash"


def test_answers_tool_call_in_its_dialect(farm: Farm) -> None:
    name = user()
    digest = farm.post(conversation(ran(events(name))), name).json["ccr_hashes"][0]

    def send(body: Any) -> Any:
        path = "/v1/retrieve/tool_call"
        got = post(farm.url, body, {"x-maas-username": name}, path)
        assert got.status == 200, got.body
        return got.json

    wanted = {"hash": digest, "query": "step"}
    use = {"type": "tool_use", "id": "t1", "name": "headroom_retrieve", "input": wanted}
    function = {"name": "headroom_retrieve", "arguments": json.dumps(wanted)}
    entry = {"id": "c1", "type": "function", "function": function}
    for body in (use, {"role": "assistant", "content": [{"type": "text", "text": "x"}, use]}):
        answer = send(body)
        assert answer["role"] == "user"
        (block,) = answer["content"]
        assert (block["type"], block["tool_use_id"]) == ("tool_result", "t1")
        assert json.loads(block["content"])["original_content"] == events(name)
    for body in (entry, {"role": "assistant", "content": None, "tool_calls": [entry]}):
        answer = send(body)
        assert (answer["role"], answer["tool_call_id"]) == ("tool", "c1")
        assert json.loads(answer["content"])["original_content"] == events(name)
    answer = send({"tool_call": entry, "provider": "openai"})
    assert answer["success"] is True
    assert answer["data"]["hash"] == digest
    miss = send({"tool_call": {**use, "input": {"hash": "abcdefabcdef"}}})
    assert miss["success"] is False
    assert "unknown" in json.loads(miss["tool_result"]["content"])["error"]


@pytest.mark.parametrize(
    "body",
    [b"x", b"[]", b"{}", b'{"tool_call":3}', b'{"name":"Bash","input":{}}', b'{"function":[1]}'],
)
def test_rejects_body_that_is_no_tool_call(farm: Farm, body: bytes) -> None:
    assert post(farm.url, body, path="/v1/retrieve/tool_call").status == 400
