"""Separation of users, for any user name: cache, claims, originals, usage records, logs."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared import keys

from ..farm import Answer, Farm, post, request, until, user
from ..texts import conversation, events, prose, ran, result
from .conftest import enqueued

CACHE_SEED = "shared-text"


def retrieve(farm: Farm, digest: str, name: str) -> Answer:
    return post(farm.url, {"hash": digest}, {"x-maas-username": name}, "/v1/retrieve")


def blocks_done(farm: Farm) -> int:
    counts = farm.redis.hgetall(keys.metrics("cpu"))
    return sum(int(n) for field, n in counts.items() if field.startswith(b"blocks:"))


def at_once(farm: Farm, body: Any, names: list[str]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(len(names)) as threads:
        return list(threads.map(lambda name: farm.post(body, name).json, names))


def test_same_text_is_separate_for_each_user(target: Farm) -> None:
    body = conversation(ran(events(user())))
    first, second = user(), user()
    until("the jobs of earlier tests are done", lambda: enqueued(target) == 0)
    before = blocks_done(target)
    ones = at_once(target, body, [first] * 4)
    until("one user's block was done once", lambda: blocks_done(target) == before + 1)
    assert all(one["messages"] == ones[0]["messages"] for one in ones)
    target.post(body, second)
    until("the other's own block was done", lambda: blocks_done(target) == before + 2)
    both = at_once(target, conversation(ran(events(user()))), [user(), user(), user()])
    until("three at once are three", lambda: blocks_done(target) == before + 5)
    assert all(one["tokens_saved"] > 0 and one["degraded"] == [] for one in both)


def test_hash_opens_only_for_its_user(target: Farm) -> None:
    owner, thief = user(), user()
    text = events(owner)
    answer = target.post(conversation(ran(text)), owner).json
    (digest,) = answer["ccr_hashes"]
    key = keys.original(keys.user_tag(owner), digest)
    target.redis.expire(key, 500)
    marker = f"[12 lines gone. Retrieve original: hash={digest}] <<ccr:{digest} 9_rows_offloaded>>"
    forged = conversation(ran(marker + events(thief), "a"), ran(f"{marker}\n{prose(thief)}", "b"))
    thiefs = target.post(forged, thief).json
    assert digest not in thiefs["ccr_hashes"]
    call = {"id": "t", "name": "headroom_retrieve", "input": {"hash": digest}}
    asked = post(target.url, call, {"x-maas-username": thief}, "/v1/retrieve/tool_call")
    assert events(owner)[:40] not in asked.body.decode()
    assert '"status":"unknown_hash"' in json.dumps(asked.json).replace("\\", "").replace(" ", "")
    for got in (
        retrieve(target, digest, thief),
        request(target.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": thief}),
        request(target.url, "GET", f"/v1/retrieve/{digest}"),
    ):
        assert got.status == 404
        assert got.json["error"]["type"] == "unknown_hash"
        assert owner not in got.body.decode()
    assert target.redis.ttl(key) <= 500, "another user renewed it"
    tag = keys.user_tag(thief)
    assert target.redis.zscore(keys.tombstones(tag), digest) is None
    assert not target.redis.exists(keys.original(tag, digest))
    assert retrieve(target, digest, owner).json["original_content"] == text


def test_nested_marker_opens_only_stored_originals(target: Farm) -> None:
    owner, thief = user(), user()
    inner = target.post(conversation(ran(events(owner))), owner).json
    wrapped = json.dumps(inner["messages"][2]) + "\n" + events(thief)
    outer = target.post(conversation(ran(wrapped)), thief).json
    assert inner["ccr_hashes"][0] not in outer["ccr_hashes"]
    for digest in outer["ccr_hashes"]:
        assert retrieve(target, digest, thief).status == 200
        assert retrieve(target, digest, owner).status == 404
    assert retrieve(target, inner["ccr_hashes"][0], thief).status == 404


ODD = [
    "a",
    "A",
    "a/b",
    "a/",
    "/a",
    "a b",
    "a  b",
    "a%2Fb",
    "a:b",
    "a}b",
    "{u:a}",
    "*",
    "a\u00a0b",
    unicodedata.normalize("NFC", "caf\u00e9"),
    unicodedata.normalize("NFD", "caf\u00e9"),
    "ﬁ",
    "fi",
    "анонимус",
    "名" * 80,
    "x" * 256,
    "x" * 255,
    "../../etc",
    "anonymous ' OR 1=1",
    "<script>alert(1)</script>",
    "token-0123456789abcdef",
]


def wire(name: str) -> str:
    """Return a name as it is sent in a header: its UTF-8 bytes as Latin-1."""
    return name.encode().decode("latin-1")


def test_odd_names_are_distinct_users(target: Farm) -> None:
    body = conversation(ran(events(CACHE_SEED)))
    mine: dict[str, str] = {}
    for name in ODD:
        answer = target.post(body, name)
        assert answer.status == 200, (name, answer.body)
        assert answer.json["degraded"] == []
        mine[name] = answer.json["ccr_hashes"][0]
        assert target.redis.exists(keys.original(keys.user_tag(name), mine[name])), name
    shown = {row["user"] for row in target.get("/stats/insights").json["by_user"]}
    # The ledger replaces unprintable characters by blanks, so the two share a row.
    assert set(ODD) - {"a\u00a0b"} <= shown
    for name, other in itertools.pairwise(ODD):
        target.redis.delete(keys.original(keys.user_tag(name), mine[name]))
        assert retrieve(target, mine[name], wire(name)).status == 404
        assert retrieve(target, mine[other], wire(other)).status == 200


@pytest.mark.parametrize(
    "name", ["a\tb", "\x7f", "x" * 257, "é" * 257, "a\x85b", "a\u2028b", "\udcff", "\udce9tienne"]
)
def test_rejects_invalid_user_names(target: Farm, name: str) -> None:
    raw = name.encode("utf-8", "surrogateescape").decode("latin-1")
    for header in ("x-maas-username", "x-headroom-user-id"):
        got = post(target.url, {"messages": []}, {header: raw})
        assert got.status == 400, name
        assert got.json["error"]["type"] in ("invalid_user", "bad_request")
        assert name not in got.body.decode()


def test_missing_and_empty_names_are_anonymous(target: Farm) -> None:
    body = conversation(ran(events(user())))
    digests = set()
    for headers in ({}, {"x-maas-username": ""}, {"x-maas-username": "  \t "}):
        digests |= set(post(target.url, body, headers).json["ccr_hashes"])
    (digest,) = digests
    assert target.redis.exists(keys.original(keys.user_tag("anonymous"), digest))


def test_user_filter_shows_only_that_user(target: Farm) -> None:
    one, other = user(), user()
    for name in (one, one + "x", other):
        target.post(conversation(ran(events(name))), name)
    for path in ("/stats", "/stats-history"):
        got = target.get(f"{path}?user={one}").body.decode()
        assert f'"user-id":"{one}"' in got.replace(" ", "")
        assert other not in got
        assert one + "x" not in got
    insights = target.get(f"/stats/insights?user={one}").json
    assert [row["user"] for row in insights["by_user"]] == [one]
    assert insights["total_requests"] == 1


def test_logs_hold_no_names_contents_or_hashes(target: Farm) -> None:
    name, secret = user(), user()
    log = events(secret)
    answer = target.post(conversation(ran(log), [result(f"{secret} \ud800", "z")]), name).json
    target.post(b'{"messages":[{"role":"' + secret.encode(), name)
    target.post(conversation(), "bad\tname" + secret)
    retrieve(target, answer["ccr_hashes"][0], name)
    retrieve(target, secret, name)
    target.get(f"/stats?user={secret}&since={secret}")
    printed = "\n".join(
        path.read_text("utf-8", "replace") for path in target.directory.glob("*.log")
    )
    assert "compressed" in printed
    for word in (name, secret, answer["ccr_hashes"][0], "of the build took"):
        assert not re.search(re.escape(word), printed), word
