"""The policy file: TOML, its schema, and error messages with line numbers.

TOML rather than YAML, because YAML reads an unquoted ``mode: on`` or ``off`` as a boolean, and
rather than JSON, because a policy needs comments. The standard library can read it.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import msgspec

from ..errors import PolicyError
from .rules import ENGINE_NAMES, EngineName, Limits, Markers, Mode, Quota, Rule, matches
from .ruling import Policy
from .tool_rules import tool_rules

MAX_BYTES = 1024 * 1024
MAX_RULES = 200
MAX_TOOL_RULES_BYTES = 16 * 1024
"""Limit for the serialized tool rules, which are stored with each request of a conversation."""
_HEADER = re.compile(r"^\s*\[\[\s*rule\s*\]\]")
_AT_END = " (at end of document)"
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_VALUES = {"mode": get_args(Mode), "markers": get_args(Markers), "engines": ENGINE_NAMES}
_OF_CONVERSATIONS = ("share", "protect_tools", "markers", "quota")

Glob = Annotated[
    str, msgspec.Meta(min_length=1, max_length=256, description="`*`, `?` and `[...]`")
]
Globs = Glob | Annotated[list[Glob], msgspec.Meta(min_length=1, max_length=200)]
_Amount = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)]


class LimitsEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits per minute."""

    requests: _Amount | None = None
    tokens: _Amount | None = None


class QuotaEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits for each user, and for each tenant across all its users."""

    user: LimitsEntry | None = None
    tenant: LimitsEntry | None = None


class RuleEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule as written in the file; an absent key matches everything and changes nothing."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._ -]{1,64}$")] | None = None
    tenant: Globs | None = None
    user: Globs | None = None
    model: Globs | None = None
    tool: Globs | None = None
    mode: Mode = "on"
    share: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    engines: list[EngineName] | None = None
    protect_tools: Globs | None = None
    markers: Markers | None = None
    fold: bool = True
    quota: QuotaEntry | None = None


class PolicyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    rule: Annotated[list[RuleEntry], msgspec.Meta(max_length=MAX_RULES)] = []


class Fault(NamedTuple):
    """One problem in the file and its line (0 if not known). A warning does not reject the file."""

    line: int
    text: str
    warning: bool = False


class Checked(NamedTuple):
    """The result of checking a file; ``policy`` is None if any fault is an error."""

    policy: Policy | None
    faults: list[Fault]


def schema() -> dict[str, Any]:
    """Return the file's JSON schema (2020-12)."""
    found = msgspec.json.schema(PolicyEntry)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def read(path: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        PolicyError: The file is not valid; the message has a line for each fault.
        OSError: The file cannot be opened or read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    checked = check(data)
    if checked.policy is None:
        errors = [f for f in checked.faults if not f.warning]
        raise PolicyError("\n".join(said(path.name, fault) for fault in errors))
    return checked.policy


def said(name: str, fault: Fault) -> str:
    """Return a fault as one line: ``FILE:LINE: TEXT``."""
    place = f"{name}:{fault.line}" if fault.line else name
    return f"{place}: {'warning: ' if fault.warning else ''}{fault.text}"


def check(data: bytes) -> Checked:
    """Check the content of a policy file and report every fault, in the order of the file."""
    if len(data) > MAX_BYTES:
        return Checked(None, [Fault(0, f"the file is over {MAX_BYTES} bytes")])
    try:
        text = data.decode()
        found = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return Checked(None, [Fault(line, "the file is not UTF-8")])
    except tomllib.TOMLDecodeError as error:
        return Checked(None, [_syntax(str(error), text)])
    except RecursionError:
        return Checked(None, [Fault(0, "the file is nested too deeply")])
    places = _Places(text)
    faults = [
        Fault(places.top(key), f"unknown key '{key}': only [[rule]] is allowed at the top level")
        for key in found
        if key != "rule"
    ]
    entries = found.get("rule", [])
    if not isinstance(entries, list) or len(entries) > MAX_RULES:
        what = f"'rule' must be a list of at most {MAX_RULES} tables, each started by [[rule]]"
        return Checked(None, [*faults, Fault(places.top("rule"), what)])
    rules: list[Rule] = []
    for number, entry in enumerate(entries):
        made = _rule(number, entry, places)
        if isinstance(made, Fault):
            faults.append(made)
            continue
        rules.append(made)
        faults += _contradictions(number, entry, made, places)
    if len(tool_rules(rules)) > MAX_TOOL_RULES_BYTES:
        text = f"the tool rules take more than {MAX_TOOL_RULES_BYTES} bytes"
        faults.append(Fault(0, text))
    faults += _twice(rules, entries, places)
    if any(not fault.warning for fault in faults):
        return Checked(None, sorted(faults))
    faults += _unreached(rules, places)
    version = blake2b(data, digest_size=6).hexdigest()
    return Checked(Policy(rules, version), sorted(faults))


def _rule(number: int, entry: Any, places: _Places) -> Rule | Fault:
    try:
        made = msgspec.convert(entry, RuleEntry)
    except msgspec.ValidationError as error:
        return _explained(number, entry, str(error), places)
    return Rule(
        made.name or f"rule {number + 1}",
        _globs(made.tenant),
        _globs(made.user),
        _globs(made.model),
        _globs(made.tool),
        made.mode,
        100.0 if made.share is None else made.share,
        None if made.engines is None else tuple(made.engines),
        _globs(made.protect_tools),
        made.markers,
        made.fold,
        _quota(made.quota),
    )


def _globs(given: str | list[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def _quota(entry: QuotaEntry | None) -> Quota | None:
    if entry is None:
        return None
    limits = [
        None if found is None else Limits(found.requests, found.tokens)
        for found in (entry.user, entry.tenant)
    ]
    return Quota(*limits)


# ── faults and their lines ──────────────────────────────────────────────────────────


class _Places:
    """Finds the lines of rules and keys by pattern, because ``tomllib`` does not report them.

    A wrong line only makes a message less helpful.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._starts = [i for i, line in enumerate(self._lines) if _HEADER.match(line)]

    def top(self, key: str) -> int:
        """Return the line of a top-level key."""
        return self._find(key, 0, len(self._lines))

    def rule(self, number: int, *path: str) -> int:
        """Return the line of a rule's key, or of the rule itself if the key is not found."""
        if number >= len(self._starts):
            return 0
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self._lines)
        for key in reversed(path):
            if found := self._find(key, start, end):
                return found
        return start + 1

    def _find(self, key: str, start: int, end: int) -> int:
        name = re.escape(key)
        mentions = re.compile(rf"""(^|[\s.{{,"'\[]){name}["']?\s*(=|\]|\.)""")
        for number in range(start, end):
            if mentions.search(self._lines[number].split("#", 1)[0]):
                return number + 1
        return 0


def _syntax(message: str, text: str) -> Fault:
    """Return the parser's ``message``, which ends with the position, as a fault."""
    if message.endswith(_AT_END):
        return Fault(text.count("\n") + 1, f"not TOML: {message.removesuffix(_AT_END)}")
    found = re.search(r"\(at line (\d+), column (\d+)\)$", message)
    if found is None:
        return Fault(0, f"not TOML: {message}")
    words = message[: found.start()].strip()
    return Fault(int(found[1]), f"not TOML: {words} (column {found[2]})")


def _explained(number: int, entry: Any, message: str, places: _Places) -> Fault:
    """Return a schema violation as a fault, with the rule's number and name and the key's line."""
    place = _PLACE.search(message)
    path = [key for key in re.split(r"[.\[\]]+", place[1]) if key] if place else []
    text = message[: place.start()] if place else message
    if unknown := _UNKNOWN.search(text):
        path.append(unknown[1])
        text = f"unknown key '{unknown[1]}'"
    elif path:
        text = f"'{'.'.join(path)}': {text[:1].lower()}{text[1:]}"
    if "enum value" in text and path[0] in _VALUES:
        text += f", expected one of {', '.join(_VALUES[path[0]])}"
    name = entry.get("name") if isinstance(entry, dict) else None
    title = f"rule {number + 1}" + (f" ('{name}')" if isinstance(name, str) else "")
    keys = [key for key in path if not key.isdigit() and key != "..."]
    return Fault(places.rule(number, *keys), f"{title}: {text}")


def _contradictions(number: int, entry: Any, rule: Rule, places: _Places) -> Iterator[Fault]:
    """Yield a fault for each key that conflicts with another one."""
    if rule.tool:
        for key in _OF_CONVERSATIONS:
            if key in entry:
                text = f"{rule.name}: '{key}' applies to conversations and cannot go with 'tool'"
                yield Fault(places.rule(number, key), text)
        if rule.mode == "audit":
            text = f"{rule.name}: 'audit' applies to conversations and cannot go with 'tool'"
            yield Fault(places.rule(number, "mode"), text)
    if rule.mode == "off":
        for key in ("share", "engines", "protect_tools", "markers", "fold", "quota"):
            if key in entry:
                text = f"{rule.name}: '{key}' has no effect if the mode is 'off'"
                yield Fault(places.rule(number, key), text)
    quota = rule.quota
    empty = Limits()
    if quota is not None and (quota == Quota() or empty in (quota.user, quota.tenant)):
        yield Fault(places.rule(number, "quota"), f"{rule.name}: the quota limits nothing")


def _twice(rules: list[Rule], entries: list[Any], places: _Places) -> Iterator[Fault]:
    named = Counter(rule.name for rule in rules)
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        name = entry.get("name", f"rule {number + 1}") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        if named[name] > 1 and name in seen:
            yield Fault(places.rule(number, "name"), f"two rules are named '{name}'")
        seen.add(name)


def _unreached(rules: list[Rule], places: _Places) -> Iterator[Fault]:
    """Warn about each rule that an earlier rule makes unreachable."""
    for number, rule in enumerate(rules):
        for before in rules[:number]:
            if _covers(before, rule):
                text = f"{rule.name}: never applies, because {before.name} matches all it matches"
                yield Fault(places.rule(number), text, warning=True)
                break


def _covers(first: Rule, second: Rule) -> bool:
    pairs = (
        (first.tenant, second.tenant),
        (first.user, second.user),
        (first.model, second.model),
        (first.tool, second.tool),
    )
    return all(
        not wide or (narrow and all(g in wide or _plain(g, wide) for g in narrow))
        for wide, narrow in pairs
    )


def _plain(glob: str, wide: tuple[str, ...]) -> bool:
    """Return whether ``wide`` matches everything, or ``glob`` is a plain name it matches."""
    return "*" in wide or (not set(glob) & set("*?[") and matches(wide, glob))
