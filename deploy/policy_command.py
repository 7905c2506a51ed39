"""``headroom-farm policy``: check the policy file, explain its decisions, print its schema."""

from __future__ import annotations

import json
from pathlib import Path

from shared.errors import PolicyError
from shared.policy.control_group import position
from shared.policy.file import check, read, said, schema
from shared.policy.rules import Quota, Rule, Subject, matches
from shared.policy.ruling import NO_RULE, Policy, Ruling
from shared.policy.tool_rules import tool_ruling
from shared.settings import Settings


def check_file(path: Path) -> str:
    """Return a file's warnings and its number of rules, as text.

    Raises:
        PolicyError: It cannot be read or is not valid; the message has a line for each fault.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from None
    checked = check(data)
    lines = [said(str(path), fault) for fault in checked.faults]
    if checked.policy is None:
        raise PolicyError("\n".join(["the policy is not valid", *lines]))
    rules = len(checked.policy.rules)
    return "\n".join([*lines, f"{path}: {rules} rule{'' if rules == 1 else 's'}, valid"])


def explain(
    settings: Settings,
    path: Path | None,
    *,
    user: str,
    model: str,
    tool: str | None,
    session: str | None,
) -> str:
    """Return which rule applies to a conversation, and to a tool's output in it, and why.

    Raises:
        PolicyError: No file is named, or it is not valid.
    """
    path = path or settings.policy_file
    if path is None:
        raise PolicyError("name a file with --file, or set HEADROOM_POLICY_FILE")
    try:
        policy = read(path)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from None
    about = Subject.of(user, model)
    ruling = policy.ruling(about)
    lines = [f"tenant '{about.tenant}', user '{about.user}', model '{about.model}'"]
    lines += _walk(policy, about, None)
    lines += ["", f"conversation: {ruling.rule}", *_effects(ruling)]
    if session is not None:
        named = session.encode("utf-8", "surrogatepass")
        arm, place = ruling.arm(named), position(named)
        lines.append(f"  session '{session}': {arm} ({place:.2f} of 100, share {ruling.share:g})")
    if tool is not None:
        lines += ["", f"output of '{tool}':", *_walk(policy, about, tool)]
        lines += _tool(ruling, tool)
    return "\n".join(lines)


def printed_schema() -> str:
    """Return the file's JSON schema as text."""
    return json.dumps(schema(), indent=2)


def _walk(policy: Policy, about: Subject, tool: str | None) -> list[str]:
    """Return a line for each rule up to the one that applies, with the reason if it does not."""
    lines = []
    for rule in policy.rules:
        why = rule.mismatch(about) or _mismatch(rule, tool)
        lines.append(f"  {rule.name}: {'no, ' + why if why else 'yes, applies'}")
        if not why:
            return lines
    return [*lines, f"  {NO_RULE}: no rule matches, the settings apply"]


def _mismatch(rule: Rule, tool: str | None) -> str:
    if tool is None:
        return "it applies only to tools' outputs" if rule.tool else ""
    if matches(rule.tool, tool):
        return ""
    return f"tool '{tool}' is not {' or '.join(map(repr, rule.tool))}"


def _effects(ruling: Ruling) -> list[str]:
    rest = (
        "" if ruling.share >= 100 else f"; the other {100 - ruling.share:g} % are the control group"
    )
    lines = [f"  mode {ruling.mode} for {ruling.share:g} % of the sessions{rest}"]
    if ruling.mode == "off":
        return ["  mode off: conversations are returned unchanged"]
    lines.append(f"  markers {ruling.markers or 'according to HEADROOM_MARKER_MODE'}")
    return lines + _quota(ruling.quota)


def _quota(quota: Quota | None) -> list[str]:
    lines = []
    for who in ("tenant", "user"):
        limits = getattr(quota, who) if quota is not None else None
        if limits is not None:
            amounts = [
                f"{amount} {what}"
                for what, amount in (("requests", limits.requests), ("tokens", limits.tokens))
                if amount is not None
            ]
            lines.append(f"  quota of a {who}: {' and '.join(amounts)} per minute")
    return lines


def _tool(ruling: Ruling, tool: str) -> list[str]:
    if ruling.mode == "off":
        return ["  unchanged: the conversation's mode is off"]
    found = tool_ruling(ruling.tools, tool)
    if not found.touched:
        return ["  unchanged"]
    without = ", ".join(sorted(found.without)) or "none"
    folds = "may" if found.fold else "may not"
    return [f"  compressed; engines not used: {without}; {folds} refer to earlier output"]
