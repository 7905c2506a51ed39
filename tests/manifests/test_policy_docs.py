"""The policies that the pages show are valid, and do what the pages say."""

from __future__ import annotations

import re

import pytest

from shared.policy.file import RuleEntry, check
from shared.policy.rules import Subject
from shared.policy.ruling import Policy
from shared.policy.tool_rules import tool_ruling

from ..documented import page

SHOWN = {
    name: re.findall(r"```toml\n(.*?)```", page(f"docs/{name}.md"), re.DOTALL)
    for name in ("policy", "rollout")
}
SOMEBODY = Subject.of("zeta/zoe", "gpt-5")


def _policy(text: str) -> Policy:
    checked = check(text.encode())
    assert checked.faults == [], text
    assert checked.policy is not None
    return checked.policy


@pytest.mark.parametrize("name", list(SHOWN))
def test_every_policy_shown_is_valid_without_warning(name: str) -> None:
    assert len(SHOWN[name]) >= (1 if name == "policy" else 4)
    for text in SHOWN[name]:
        _policy(text)


def test_page_names_every_key_a_rule_may_have() -> None:
    shown = " ".join(SHOWN["policy"])
    assert {key for key in RuleEntry.__struct_fields__ if key not in shown} == set()


def test_rollout_takes_a_company_from_audit_to_all() -> None:
    audit, pilot, tools, half, everybody = SHOWN["rollout"]
    assert _policy(audit).ruling(SOMEBODY).mode == "audit"
    assert _policy(pilot).ruling(SOMEBODY).mode == "audit"
    ada = _policy(pilot).ruling(Subject.of("acme/ada", "gpt-5"))
    assert (ada.mode, ada.share) == ("on", 50)
    assert not tool_ruling(ada.tools, "mcp__crm__list").touched
    both = _policy(tools + pilot).ruling(Subject.of("acme/ada", "gpt-5"))
    assert "log" in tool_ruling(both.tools, "mcp__jira__get").without
    shares = [_policy(text).ruling(SOMEBODY).share for text in (half, everybody)]
    assert shares == [50, 95]
    assert all(_policy(text).ruling(SOMEBODY).quota for text in (half, everybody))
    steps = re.findall(r"^## (\d)\. ", page("docs/rollout.md"), re.MULTILINE)
    assert steps == ["1", "2", "3", "4"]
