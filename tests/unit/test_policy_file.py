"""Parsing of policy files, and error messages with line numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.policy_command import check_file
from shared.errors import PolicyError
from shared.policy.file import MAX_BYTES, check, read, schema
from shared.policy.rules import Limits, Quota, Rule
from shared.policy.ruling import Policy

GOOD = """
# A pilot, and nobody else.
[[rule]]
name = "pilot"
tenant = "acme"
user = ["ada", "team-*"]
model = "claude-*"
mode = "audit"
share = 12.5
engines = ["reversible", "log"]
protect_tools = "mcp__*"
markers = "if_redeemable"
fold = false
quota.user = { requests = 60, tokens = 200_000 }
quota.tenant = { tokens = 5_000_000 }

[[rule]]
tool = "Read"
mode = "off"
"""


def _policy(text: str) -> Policy:
    policy = check(text.encode()).policy
    assert policy is not None
    return policy


def test_every_key_is_read() -> None:
    pilot, reads = _policy(GOOD).rules
    assert pilot == Rule(
        "pilot",
        ("acme",),
        ("ada", "team-*"),
        ("claude-*",),
        (),
        "audit",
        12.5,
        ("reversible", "log"),
        ("mcp__*",),
        "if_redeemable",
        False,
        Quota(Limits(60, 200_000), Limits(None, 5_000_000)),
    )
    assert (reads.name, reads.tool, reads.mode) == ("rule 2", ("Read",), "off")


def test_empty_file_is_a_policy_without_rules() -> None:
    assert _policy("").rules == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[[rule]]\nname = 'a'\nshre = 3", 3, "rule 1 ('a'): unknown key 'shre'"),
        ("[[rule]]\n[[rule]]\nmode = 'onn'", 3, "expected one of on, audit, off"),
        ("[[rule]]\nmode = on", 2, "not TOML"),
        ("[[rule]]\nshare = 101", 2, "'share'"),
        ("[[rule]]\nshare = 'all'", 2, "'share'"),
        ("[[rule]]\nshare = nan", 2, "'share'"),
        ("[[rule]]\nengines = ['log', 'lgo']", 2, "'engines.1'"),
        ("[[rule]]\nuser = []", 2, "'user'"),
        ("[[rule]]\nuser = ''", 2, "'user'"),
        ("[[rule]]\nuser = 3", 2, "'user'"),
        ("[[rule]]\n[rule.quota.user]\nrequests = 0", 3, "'quota.user.requests'"),
        ("[[rule]]\nquota.user.requests = 1.5", 2, "'quota.user.requests'"),
        ("[[rule]]\nquota.team.requests = 1", 2, "unknown key 'team'"),
        ("[[rule]]\nquota = {}", 2, "limits nothing"),
        ("[[rule]]\nquota.user = {}", 2, "limits nothing"),
        ("[[rule]]\ntool = 'a'\nshare = 3", 3, "cannot go with 'tool'"),
        ("[[rule]]\ntool = 'a'\nmode = 'audit'", 3, "cannot go with 'tool'"),
        ("[[rule]]\nmode = 'off'\nshare = 3", 3, "has no effect"),
        ("[[rule]]\nname = 'a'\n[[rule]]\nname = 'a'", 4, "two rules are named 'a'"),
        ("[[rule]]\nname = 'rule 2'\n[[rule]]", 3, "two rules are named 'rule 2'"),
        ("[[rule]]\nname = 'a\\tb'", 2, "'name'"),
        ("[[rules]]\nname = 'a'", 1, "unknown key 'rules'"),
        ("[rule]\nname = 'a'", 1, "[[rule]]"),
        ("rule = [3]", 0, "rule 1"),
        ("[[rule]]\nname = 'a'\nname = 'b'", 3, "not TOML"),
    ],
)
def test_fault_is_reported_with_its_line(text: str, line: int, words: str) -> None:
    checked = check(text.encode())
    assert checked.policy is None
    assert len(checked.faults) == 1
    fault = checked.faults[0]
    assert words in fault.text
    assert fault.line == line


def test_reports_faults_of_all_rules_together() -> None:
    text = "[[rule]]\nmode = 'x'\n[[rule]]\nshare = -1\n[[rule]]\nfolds = true"
    assert [fault.line for fault in check(text.encode()).faults] == [2, 4, 6]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff", "UTF-8"),
        (b"#" * (MAX_BYTES + 1), "over"),
        (b"a = " + b"[" * 100_000, ""),
        (b"[[rule]]\n" * 201, "at most 200"),
        (b"[[rule]]\nprotect_tools = ['" + b"x" * 250 + b"']\ntenant='a'\n", ""),
    ],
)
def test_extreme_file_is_rejected_without_exception(data: bytes, words: str) -> None:
    if words or data.startswith(b"a"):
        checked = check(data)
        assert checked.policy is None
        assert words in checked.faults[0].text
        return
    many = b"".join(data.replace(b"'a'", b"'t%d'" % n) for n in range(100))
    assert check(many).policy is None  # the serialized tool rules are limited


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_policy_or_faults(data: bytes) -> None:
    checked = check(data)
    assert (checked.policy is None) == any(not fault.warning for fault in checked.faults)


def test_warns_about_unreachable_rule() -> None:
    text = "[[rule]]\nname = 'wide'\nuser = 'a*'\n[[rule]]\nname = 'narrow'\nuser = 'ada'"
    checked = check(text.encode())
    assert checked.policy is not None
    (warning,) = checked.faults
    assert warning.warning
    assert warning.line == 4
    assert warning.text == "narrow: never applies, because wide matches all it matches"
    apart = text.replace("user = 'a*'", "user = 'a*'\nmodel = 'gpt*'")
    assert check(apart.encode()).faults == []


def test_schema_accepts_what_check_accepts() -> None:
    described = schema()
    jsonschema.Draft202012Validator.check_schema(described)
    valid = jsonschema.Draft202012Validator(described).is_valid
    good: dict[str, Any] = {
        "rule": [{"name": "a", "user": ["b"], "share": 3.5, "quota": {"user": {"tokens": 1}}}]
    }
    assert valid(good)
    for key, value in (("shre", 3), ("mode", "onn"), ("share", 101), ("engines", ["x"])):
        assert not valid({"rule": [{key: value}]})


def test_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        check_file(tmp_path / "none.toml")


def test_read_error_lists_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[[rule]]\nmode = 'x'\n[[rule]]\nshare = -1\n")
    with pytest.raises(PolicyError) as error:
        read(path)
    first, second = str(error.value).splitlines()
    assert first.startswith("policy.toml:2: ")
    assert second.startswith("policy.toml:4: ")
