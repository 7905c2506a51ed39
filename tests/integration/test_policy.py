"""The policy on a real farm: two processes, and a file that changes and is sometimes invalid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..farm import Farm, until, user
from ..texts import conversation, events, ran, rows

FIRST = """
[[rule]]
name = "not yet"
user = "later-*"
mode = "off"

[[rule]]
name = "no crm"
protect_tools = ["Bash"]
model = "careful-*"

[[rule]]
name = "all"
markers = "none"
"""


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm of two front-end processes, whose policy these tests change."""
    directory = tmp_path_factory.mktemp("ruled")
    path = directory / "policy.toml"
    path.write_text(FIRST)
    farm = Farm(directory, api_processes=2, policy_file=path)
    try:
        yield farm.start()
    finally:
        farm.stop()


def _file(farm: Farm) -> Path:
    return farm.directory / "policy.toml"


def _applied(farm: Farm, text: str) -> None:
    """Write a policy, and wait until every process applies it or reports its fault."""
    before = _states(farm)[0]
    _file(farm).write_text(text)

    def known() -> bool:
        states = _states(farm)
        return all(
            (s["version"], s["fault"]) != (before["version"], before["fault"]) for s in states
        )

    until("every process has looked", known)


def _states(farm: Farm) -> list[Any]:
    return [farm.get("/readyz").json["policy"] for _ in range(20)]


def test_rules_decide_by_user_model_and_tool(ruled: Farm) -> None:
    body = conversation(ran(events("ruled")), ran(rows("ruled"), "b"))
    later = ruled.post(body, f"later-{user()}").json
    assert later["messages"] == body["messages"]
    assert later["transforms_applied"] == ["farm:policy:off"]
    assert later["degraded"] == []
    careful = ruled.post({**body, "model": "careful-1"}, user()).json
    assert careful["messages"] == body["messages"]
    assert "farm:verbatim:policy" in careful["transforms_applied"]
    others = ruled.post({**body, "mode": "ccr"}, user()).json
    assert others["tokens_saved"] > 0
    assert others["ccr_hashes"] == []


def test_changed_file_applies_and_spoilt_file_keeps_last(ruled: Farm) -> None:
    body = conversation(ran(events("changed")))
    _applied(ruled, "[[rule]]\nname = 'nobody'\nmode = 'off'\n")
    assert ruled.post(body, user()).json["messages"] == body["messages"]
    _applied(ruled, "[[rule]]\nmoed = 'on'\n")
    assert ruled.post(body, user()).json["messages"] == body["messages"]
    ready = ruled.get("/readyz")
    assert (ready.status, ready.json["policy"]["fault"]) == (200, "invalid")
    faulty = "headroom_policy_fault 1.0"
    until("the metric says so", lambda: faulty in ruled.get("/metrics").body.decode())
    assert "moed" in ruled.logs()
    _applied(ruled, FIRST)
    assert ruled.post(body, user()).json["tokens_saved"] > 0


def test_command_line_checks_and_explains(ruled: Farm, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[[rule]]\nname = 'a'\nshre = 3\n")
    done = ruled.command("policy", "check", str(path))
    assert done.returncode == 2
    assert f"{path}:3: rule 1 ('a'): unknown key 'shre'" in done.stderr
    path.write_text(FIRST)
    done = ruled.command("policy", "check", str(path))
    assert (done.returncode, done.stdout) == (0, f"{path}: 3 rules, valid\n")
    asked = ("--user", "acme/ada", "--model", "careful-1", "--tool", "Bash", "--session", "s")
    done = ruled.command("policy", "explain", "--file", str(path), *asked)
    assert done.returncode == 0
    for words in (
        "not yet: no, user 'ada' is not 'later-*'",
        "no crm: yes, applies",
        "session 's': on",
        "  unchanged",
    ):
        assert words in done.stdout


def _trial(farm: Farm, rule: str) -> Any:
    found = farm.get("/stats/policy").json["rules"]
    return next((one for one in found if one["rule"] == rule), None)


def _session(number: int) -> list[Any]:
    """Return the growing bodies of a session, which is identified by its first message."""
    parts = [ran(events(f"s{number}a"), "a"), ran(rows(f"s{number}b"), "b"), ran("short", "c")]
    whole = conversation(*parts)
    whole["messages"][0]["content"] = f"question {number} of the trial"
    return [{**whole, "messages": whole["messages"][:end]} for end in (3, 5, 7)]


def test_audit_records_exactly_what_on_saves(ruled: Farm) -> None:
    """With the same sessions in both modes, over two processes, the sums are exactly equal."""
    _applied(
        ruled,
        "[[rule]]\nname = 'looked at'\nuser = 'audited-*'\nmode = 'audit'\n"
        "[[rule]]\nname = 'real'\nuser = 'real-*'\n",
    )
    names = {"audit": f"audited-{user()}", "on": f"real-{user()}"}
    for number in range(6):
        for arm, name in names.items():
            for body in _session(number):
                answer = ruled.post(body, name).json
                if arm == "audit":
                    assert answer["messages"] == body["messages"]
                    assert answer["tokens_saved"] == 0

    def groups() -> Any:
        audit, real = _trial(ruled, "looked at"), _trial(ruled, "real")
        if not audit or not real:
            return None
        found = audit["groups"]["audit"], real["groups"]["on"]
        whole = all(one["requests"] == 18 and not one["requests_not_read"] for one in found)
        return found if whole else None

    audit, real = until("all is booked", groups)
    assert audit["sessions"] == real["sessions"] == 6
    for name in ("tokens_came", "tokens_left"):
        assert audit["total"][name] == real["total"][name]
    assert audit["total"]["tokens_left"] < audit["total"]["tokens_came"]
    assert audit["saved_share_of_tokens"] == real["saved_share_of_tokens"]
    assert audit["saved_share_of_tokens"]["low"] > 0
    insights = ruled.get(f"/stats/insights?user={names['audit']}").json
    assert insights["by_user"][0]["tokens_saved"] == 0
    assert insights["total_requests"] == 18
    counted = insights["by_user"][0]["total_input"]
    assert counted == audit["total"]["tokens_came"]  # the estimate by size was replaced


def test_share_splits_sessions_and_both_groups_are_compared(ruled: Farm) -> None:
    _applied(ruled, "[[rule]]\nname = 'half'\nshare = 50\n")
    name = "half"  # the groups depend on it: a random name puts too many into one, now and then
    came: dict[int, set[bool]] = {}
    for number in range(100, 124):
        for body in _session(number):
            answer = ruled.post(body, name).json
            left = "farm:policy:control" in answer["transforms_applied"]
            came.setdefault(number, set()).add(left)
            if left:
                assert answer["messages"] == body["messages"]
    assert all(len(one) == 1 for one in came.values())  # a session is never split
    control = sum(True in one for one in came.values())
    assert 5 <= control <= 19

    def compared() -> Any:
        found = _trial(ruled, "half")
        groups = found["groups"] if found else {}
        booked = sum(group["requests"] for group in groups.values())
        unread = sum(group["requests_not_read"] for group in groups.values())
        return found if booked == 72 and not unread else None

    found = until("all is booked", compared)
    assert found["groups"]["control"]["sessions"] == control
    assert found["groups"]["on"]["sessions"] == 24 - control
    assert found["groups"]["control"]["saved_share_of_bill"]["value"] == 0
    tokens = found["comparison"]["tokens_left"]["relative"]
    assert tokens["high"] < 0  # significantly fewer
    assert tokens["low"] <= tokens["value"] <= tokens["high"]


def test_conversation_over_quota_is_sent_verbatim(ruled: Farm) -> None:
    _applied(
        ruled,
        "[[rule]]\nname = 'bounded'\nquota.user = { requests = 2 }\n"
        "quota.tenant = { requests = 3 }\n",
    )
    tenant = user()

    def degraded(name: str, number: int) -> list[str]:
        return list(ruled.post(_session(number)[0], f"{tenant}/{name}").json["degraded"])

    asked = [degraded("ada", 200), degraded("ada", 201), degraded("ada", 202)]
    assert asked == [[], [], ["quota"]]
    assert [degraded("bob", 203), degraded("bob", 204)] == [[], ["quota"]]
    body = _session(205)[0]
    answer = ruled.post(body, f"{tenant}/bob").json
    assert answer["messages"] == body["messages"]
    assert "farm:verbatim:quota" in answer["transforms_applied"]
    assert degraded("ada", 200) in ([], ["quota"])  # counted, though it has no new tokens
    until("it is counted", lambda: 'reason="quota"' in ruled.get("/metrics").body.decode())


def test_restart_records_unfinished_audits(ruled: Farm) -> None:
    """If a front end cannot finish the work after an answer, the request counts as unread."""
    _applied(ruled, "[[rule]]\nname = 'ending'\nmode = 'audit'\n")
    name = user()
    for number in range(300, 304):
        ruled.post(_session(number)[0], name)
    api = next(part for part in ruled.parts if part.log.name.startswith("api"))
    api.stop()
    ruled.start_api()

    def booked() -> Any:
        found = _trial(ruled, "ending")
        group = found["groups"]["audit"] if found else {"requests": 0}
        return group if group["requests"] == 4 else None

    group = until("all is booked", booked)
    assert 0 <= group["requests_not_read"] <= 4
    assert bool(group["total"]["tokens_came"]) == (group["requests_not_read"] < 4)
