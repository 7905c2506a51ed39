"""Which rule applies to a conversation and to a tool, and which sessions are in a share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workers.block_form
import workers.fidelity
from shared.policy.control_group import position
from shared.policy.rules import ENGINE_NAMES, ENGINES, Rule, Subject
from shared.policy.ruling import Policy, Ruling
from shared.policy.tool_rules import paused, tool_ruling

ADA = Subject.of("acme/ada", "claude-x")


def _engines_in_source() -> set[str]:
    folders = [Path(workers.fidelity.__file__).parent, Path(workers.block_form.__file__)]
    files = [f for one in folders for f in (one.glob("*.py") if one.is_dir() else [one])]
    names: set[str] = set()
    for file in files:
        names |= set(re.findall(r'"(farm_[a-z_]+)"', file.read_text("utf-8")))
    return names | set(workers.block_form._ENGINE.values())


def test_policy_lists_every_engine() -> None:
    assert _engines_in_source() == set(ENGINES)
    assert set(ENGINE_NAMES) == {"reversible", *ENGINES}


@pytest.mark.parametrize(
    ("name", "tenant", "user"),
    [
        ("acme/ada", "acme", "ada"),
        ("ada", "ada", "ada"),
        ("acme/team/ada", "acme", "team/ada"),
        ("/acme", "/acme", "acme"),
        ("playground\tpage\tacme/ada", "acme", "ada"),
        ("", "", ""),
    ],
)
def test_subject_is_tenant_and_user_of_name(name: str, tenant: str, user: str) -> None:
    assert Subject.of(name, "m") == Subject(tenant, user, "m")


def test_first_matching_rule_applies() -> None:
    policy = Policy(
        [
            Rule("others", tenant=("other",), mode="off"),
            Rule("ada", user=("ada",), share=25.0),
            Rule("acme", tenant=("acme",), mode="off"),
        ]
    )
    assert policy.ruling(ADA) == Ruling("ada", "on", 25.0)
    assert policy.ruling(Subject.of("acme/bob", "m")).rule == "acme"
    assert policy.ruling(Subject.of("bob", "m")) == Ruling()


def test_rule_matches_only_if_all_globs_match() -> None:
    rule = Rule("r", ("ac*", "other"), ("a?a",), ("claude-*",))
    assert rule.mismatch(ADA) == ""
    assert rule.mismatch(Subject.of("acme/ada", "gpt-5")) == "model 'gpt-5' is not 'claude-*'"
    assert "tenant" in rule.mismatch(Subject.of("zeta/ada", "claude-x"))
    assert "user" in rule.mismatch(Subject.of("acme/adda", "claude-x"))
    assert rule.mismatch(Subject.of("acme/ADA", "claude-x"))  # names differ by case


def test_tool_rule_applies_only_to_its_tool() -> None:
    policy = Policy(
        [
            Rule("reads", tool=("Read",), engines=("reversible",), fold=False),
            Rule("all", protect_tools=("mcp__*",)),
            Rule("late", tool=("Bash",), mode="off"),
        ]
    )
    ruling = policy.ruling(ADA)
    assert (ruling.rule, ruling.mode) == ("all", "on")
    read = tool_ruling(ruling.tools, "Read")
    assert (read.touched, read.fold) == (True, False)
    assert {"log", "text", "farm_rows"} <= read.without
    assert not read.without & {"farm_json", "farm_repeats"}
    assert not tool_ruling(ruling.tools, "mcp__crm__list").touched
    bash = tool_ruling(ruling.tools, "Bash")  # "all" comes first
    assert (bash.touched, bash.without, bash.fold) == (True, frozenset(), True)
    assert tool_ruling(ruling.tools, "").touched


def test_tool_rule_of_another_user_does_not_apply() -> None:
    policy = Policy([Rule("bob", user=("bob",), tool=("Bash",), mode="off")])
    assert policy.ruling(ADA) == Ruling()
    bobs = policy.ruling(Subject.of("acme/bob", "m"))
    assert bobs.rule == "default"
    assert not tool_ruling(bobs.tools, "Bash").touched


def test_rules_without_restrictions_serialize_to_nothing() -> None:
    """Block keys and notes are the same as without a policy, so caches stay valid."""
    assert Policy([Rule("all", share=50.0, markers="none")]).ruling(ADA).tools == ""


def test_pause_leaves_one_engine_out_for_one_tool() -> None:
    before = Policy([Rule("all", engines=("log", "text"))]).ruling(ADA).tools
    after = paused(before, (("log", "Bash"),))
    assert tool_ruling(after, "Bash").without == tool_ruling(before, "Bash").without | {"log"}
    assert tool_ruling(after, "Read") == tool_ruling(before, "Read")
    assert paused(after, ()) == before
    assert paused("", ()) == ""
    assert paused("", (("b", "x"), ("a", "x"))) == paused("", (("a", "x"), ("b", "x")))


@given(st.binary(min_size=16, max_size=16), st.floats(0, 100), st.floats(0, 100))
def test_larger_share_keeps_every_session_of_smaller(
    session: bytes, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    arms = [Ruling(mode="on", share=share).arm(session) for share in (small, large)]
    assert arms != ["on", "control"]
    assert Ruling(mode="on", share=100.0).arm(session) == "on"
    assert Ruling(mode="audit", share=0.0).arm(session) == "control"
    assert Ruling(mode="off", share=0.0).arm(session) == "off"


def test_share_selects_its_percentage_of_sessions() -> None:
    drawn = [position(number.to_bytes(16, "big")) for number in range(4000)]
    for share in (5, 25, 50, 90):
        taken = sum(place < share for place in drawn) / len(drawn) * 100
        assert abs(taken - share) < 3  # four standard errors of a half of 4000
