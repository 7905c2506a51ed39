"""The playground: the real compressor, without usage records, in a sandbox for each page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared import keys

from ..farm import Answer, Farm, post, request, until, user
from ..texts import conversation, events, ran, rows

STAGES = ("read", "plan", "lookup", "wait", "assemble")


def play(farm: Farm, body: Any, page: str | None = "page-1", name: str = "ada") -> Answer:
    headers = {"x-maas-username": name}
    if page is not None:
        headers["x-headroom-playground"] = page
    return post(farm.url, body, headers, "/v1/playground")


def retrieve(farm: Farm, digest: str, page: str | None, name: str) -> Answer:
    headers = {"x-maas-username": name}
    if page is not None:
        headers["x-headroom-playground"] = page
    return request(farm.url, "GET", f"/v1/retrieve/{digest}", None, headers)


def test_answers_like_compress_with_a_trace(farm: Farm) -> None:
    body = conversation(ran(rows("playground")), ran(events("playground"), "b"))
    found, real = play(farm, body).json, farm.post(body, user()).json
    assert {name: found[name] for name in real} == real
    trace = found["trace"]
    assert tuple(trace["stages_ms"]) == STAGES
    assert 0 < sum(trace["stages_ms"].values()) <= trace["total_ms"]
    assert (trace["cache_hits"], trace["cache_misses"]) == (0, 2)
    asked, *_ = trace["messages"]
    assert asked["kept_because"] == ["router:protected:user_message"]
    assert (
        sum(m["tokens_before"] - m["tokens_after"] for m in trace["messages"])
        == (found["tokens_saved"])
    )
    blocks = [block for message in trace["messages"] for block in message["blocks"]]
    assert [b["engines"] for b in blocks] == [["farm_records"], ["log"]]
    for block in blocks:
        assert (block["pool"], block["source"], block["outcome"]) == ("cpu", "engine", "compressed")
        assert 0 < block["engine_ms"] <= trace["stages_ms"]["wait"]
        assert block["tokens_before"] > block["tokens_after"] > 0
    assert blocks[1]["hashes"] == found["ccr_hashes"][1:]  # the first leads to the rows as printed

    again = play(farm, body).json
    assert [b["source"] for m in again["trace"]["messages"] for b in m["blocks"]] == [
        "front_end",
        "front_end",
    ]
    assert "lookup" not in again["trace"]["stages_ms"]


def test_playground_adds_no_usage_records(farm: Farm) -> None:
    before = farm.get("/stats").json, farm.get("/stats/farm").json["requests"]
    found = play(farm, conversation(ran(events("books")))).json
    assert found["tokens_saved"] > 0
    assert retrieve(farm, found["ccr_hashes"][0], "page-1", "ada").status == 200
    after = farm.get("/stats").json, farm.get("/stats/farm").json["requests"]
    for name in ("summary", "recent_requests"):
        assert after[0][name] == before[0][name]
    assert {**after[1], "window": 0} == {**before[1], "window": 0}


def test_original_opens_only_for_its_page_and_user(farm: Farm) -> None:
    digest = play(farm, conversation(ran(events("mine"))), "mine").json["ccr_hashes"][0]
    assert retrieve(farm, digest, "mine", "ada").json["original_content"] == events("mine")
    for page, name in ((None, "ada"), ("other", "ada"), ("mine", "bob"), (None, "mine\tada")):
        assert retrieve(farm, digest, page, name).status in (400, 404)
    # A header cannot name the sandbox's user, which has control characters in its name.
    forged = retrieve(farm, digest, None, "playground\tmine\tada")
    assert (forged.status, forged.json["error"]["type"]) == (400, "invalid_user")
    sandbox = "playground\tmine\tada"
    assert farm.redis.exists(keys.original(keys.user_tag(sandbox), digest))

    def is_listed() -> bool:
        return sandbox in {s["user_id"] for s in farm.get("/sessions").json["sessions"]}

    until("its session is written down", is_listed)


@pytest.mark.parametrize("page", [None, "", "a b", "x" * 65, "ä"])
def test_rejects_page_without_a_name(farm: Farm, page: str | None) -> None:
    headers = {} if page is None else {"x-headroom-playground": page.encode().decode("latin-1")}
    answer = post(farm.url, conversation(ran(rows())), headers, "/v1/playground")
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_field")


def test_rejects_bad_bodies_like_compress(farm: Farm) -> None:
    for body, status in ((b"{", 400), (b"[]", 400), (b'{"messages": 1}', 400)):
        assert play(farm, body).status == post(farm.url, body).status == status
    large = json.dumps({"messages": [{"role": "user", "content": "x" * (1 << 20)}]}).encode()
    assert play(farm, large).status == 413
    assert request(farm.url, "GET", "/v1/playground").status == 405


def test_heavy_cached_text_has_no_counts(farm: Farm) -> None:
    body = conversation(ran(events("heavy", 3000)))
    first, second = play(farm, body, "heavy").json, play(farm, body, "heavy").json
    assert first["tokens_saved"] == second["tokens_saved"] > 0
    (block,) = [b for m in second["trace"]["messages"] for b in m["blocks"]]
    assert block["tokens_before"] is None
    assert block["outcome"] == "compressed"


POLICY = """
[[rule]]
name = "stopped"
user = "off-*"
mode = "off"

[[rule]]
name = "compared"
user = "audit-*"
mode = "audit"

[[rule]]
name = "few"
user = "few-*"
quota.user.requests = 2
"""


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with a policy."""
    directory = tmp_path_factory.mktemp("ruled")
    path = directory / "policy.toml"
    path.write_text(POLICY)
    farm = Farm(directory, policy_file=path)
    try:
        yield farm.start()
    finally:
        farm.stop()


def test_policy_that_is_off_stops_the_playground(ruled: Farm) -> None:
    body = conversation(ran(events("off")))
    found = play(ruled, body, name=f"off-{user()}").json
    assert found["messages"] == body["messages"]
    assert found["transforms_applied"] == ["farm:policy:off"]
    assert found["trace"]["reason_for_nothing"] == "policy_off"


def test_playground_shows_what_an_audited_session_would_get(ruled: Farm) -> None:
    name = f"audit-{user()}"
    body = conversation(ran(events("audited")))
    assert play(ruled, body, name=name).json["tokens_saved"] > 0
    assert ruled.post(body, name).json["messages"] == body["messages"]


def test_playground_counts_towards_its_users_quota(ruled: Farm) -> None:
    name = f"few-{user()}"
    pages = ["page-1", "page-2", "page-3"]
    bodies = [conversation(ran(events(f"{name}-{page}"))) for page in pages]
    found = [play(ruled, body, page, name).json for page, body in zip(pages, bodies, strict=True)]
    assert [answer["degraded"] for answer in found] == [[], [], ["quota"]]
    assert found[2]["messages"] == bodies[2]["messages"]
    assert ruled.post(bodies[0], name).json["degraded"] == ["quota"]
