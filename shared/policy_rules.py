"""The policy: which conversations are compressed, and how.

A policy is an ordered list of rules; the first matching rule applies (``docs/policy.md``). This
module evaluates the rules; :mod:`shared.policy_file` parses the file.

There are two lookups. For a *conversation* (tenant, user, model), the first matching rule without
a ``tool`` sets its mode, share, markers and quota. For a *tool output* in it, the first matching
rule, with or without a ``tool``, sets whether the output may be changed, by which engines, and
whether it may refer to earlier output.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, get_args

import msgspec

Mode = Literal["on", "audit", "off"]
Markers = Literal["ccr", "none", "if_redeemable"]
Arm = Literal["on", "audit", "control", "off"]
"""How a conversation is treated. ``control``: outside its rule's ``share``, so not compressed."""

_Reversible = Literal[
    "farm_json", "farm_plain", "farm_prefix", "farm_records", "farm_repeats", "farm_search"
]
_Lossy = Literal["code_aware", "diff", "farm_extract", "farm_rows", "html", "log", "search", "text"]
EngineName = Literal["reversible", _Lossy, _Reversible]
"""A name in a rule's ``engines``: one engine, or ``reversible`` for all reversible ones."""
REVERSIBLE: tuple[str, ...] = get_args(_Reversible)
"""Engines whose output can be turned back into the exact input."""
ENGINES: tuple[str, ...] = (*get_args(_Lossy), *REVERSIBLE)
"""Every engine, by its name in answers and usage records."""
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)
FOLD = "fold"
"""Name used in pauses for references to earlier output, which are not made by an engine."""
TOOL_CHARS = 64
"""Tool names are cut to this many characters in feedback."""
NO_RULE = "default"
"""Rule name reported when no rule matches."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits per minute: requests, and tokens not sent before. None means no limit."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits for each user, and for each tenant across all its users."""

    user: Limits | None = None
    tenant: Limits | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Empty globs match everything; ``engines`` None allows every engine.

    ``share`` is the percentage of sessions that the rule's mode applies to.
    """

    name: str
    tenant: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    mode: Mode = "on"
    share: float = 100.0
    engines: tuple[str, ...] | None = None
    protect_tools: tuple[str, ...] = ()
    markers: Markers | None = None
    fold: bool = True
    quota: Quota | None = None

    def mismatch(self, about: Subject) -> str:
        """Return why this rule does not match, ignoring its ``tool``; empty if it matches."""
        given = {"tenant": about.tenant, "user": about.user, "model": about.model}
        globs = {"tenant": self.tenant, "user": self.user, "model": self.model}
        for name, value in given.items():
            if not matches(globs[name], value):
                return f"{name} '{value}' is not {' or '.join(map(repr, globs[name]))}"
        return ""

    @property
    def without(self) -> frozenset[str]:
        """The engines that this rule forbids."""
        if self.engines is None:
            return frozenset()
        allowed = set(self.engines) | (set(REVERSIBLE) if "reversible" in self.engines else set())
        return frozenset(ENGINES) - allowed


@dataclass(frozen=True, slots=True)
class Subject:
    """The tenant, user and model of a conversation. A user without a tenant is its own tenant."""

    tenant: str
    user: str
    model: str

    @classmethod
    def of(cls, name: str, model: str) -> Subject:
        """Return the subject for a request's user name: ``tenant/user``, or a single name."""
        plain = name.rpartition("\t")[2]
        tenant, slash, user = plain.partition("/")
        if not slash:
            return cls(plain, plain, model)
        # A trusted service's user with the name of a tenant is not that tenant (api/http/auth.py).
        return cls(tenant or plain, user, model)


@dataclass(frozen=True, slots=True)
class ToolRuling:
    """What is allowed for a tool's output.

    ``touched``: it may be changed at all. ``without``: the engines that may not be used.
    ``fold``: it may be replaced by references to earlier output.
    """

    touched: bool = True
    without: frozenset[str] = frozenset()
    fold: bool = True


class _ToolRule(msgspec.Struct, frozen=True, array_like=True):
    """The part of a rule that concerns tools, as serialized in :attr:`Ruling.tools`.

    ``left_alone`` are globs of tools whose output stays unchanged: empty for all, None for none.
    """

    tools: tuple[str, ...]
    left_alone: tuple[str, ...] | None
    without: tuple[str, ...]
    fold: bool

    @classmethod
    def of(cls, rule: Rule) -> _ToolRule:
        """Return the part of ``rule`` that concerns tools."""
        alone = () if rule.mode == "off" else rule.protect_tools or None
        return cls(rule.tool, alone, tuple(sorted(rule.without)), rule.fold)

    @property
    def changes(self) -> bool:
        """Whether it restricts anything."""
        return self.left_alone is not None or bool(self.without) or not self.fold


class _ToolRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversation's tool rules in order, and the (engine, tool) pairs that are ``paused``."""

    rules: tuple[_ToolRule, ...] = ()
    paused: tuple[tuple[str, str], ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_ToolRules).decode


def _written(rules: _ToolRules) -> str:
    return _encode(rules).decode() if rules != _ToolRules() else ""


@lru_cache(maxsize=1024)
def paused(tools: str, pauses: tuple[tuple[str, str], ...]) -> str:
    """Return ``tools`` (as in :class:`Ruling`) with these (engine, tool) pairs paused.

    The pairs are sorted, so that equal rules have equal serializations.
    """
    rules = _decode(tools) if tools else _ToolRules()
    return _written(_ToolRules(rules.rules, tuple(sorted(pauses))))


@lru_cache(maxsize=8192)
def tool_ruling(tools: str, tool: str) -> ToolRuling:
    """Return what is allowed for a tool's output; ``tool`` is empty if the call is not known.

    ``tools`` are the serialized rules of a :class:`Ruling`.
    """
    if not tools:
        return _ANYTHING
    found = _decode(tools)
    without = frozenset(engine for engine, of in found.paused if of == tool[:TOOL_CHARS])
    folds = FOLD not in without
    for rule in found.rules:
        if matches(rule.tools, tool):
            left_alone = rule.left_alone is not None and matches(rule.left_alone, tool)
            fold = rule.fold and folds
            return ToolRuling(not left_alone, without.union(rule.without) - {FOLD}, fold)
    return ToolRuling(without=without - {FOLD}, fold=folds)


_ANYTHING = ToolRuling()


@dataclass(frozen=True, slots=True)
class Ruling:
    """The policy's decision for a conversation.

    ``tools`` are its tool rules, serialized. They are stored with each request, so that other
    replicas use the same rules and earlier decisions still hold after the policy changes.
    """

    rule: str = NO_RULE
    mode: Mode = "on"
    share: float = 100.0
    markers: Markers | None = None
    quota: Quota | None = None
    tools: str = ""

    def arm(self, session: bytes) -> Arm:
        """Return how the session with this digest is treated.

        The result is deterministic for a given ``share``, and raising the share only adds
        sessions.
        """
        if self.mode != "off" and position(session) >= self.share:
            return "control"
        return self.mode


def position(session: bytes) -> float:
    """Map a session's digest to [0, 100), uniformly; a share of N selects positions below N."""
    drawn = blake2b(session, digest_size=8, person=b"farm:share").digest()
    return int.from_bytes(drawn, "big") / 2**64 * 100


def tool_rules(rules: Iterable[Rule]) -> str:
    """Return the tool rules of ``rules``, serialized; empty if they restrict nothing."""
    found = tuple(_ToolRule.of(rule) for rule in rules)
    return _written(_ToolRules(found)) if any(rule.changes for rule in found) else ""


class Policy:
    """Rules in order. ``version`` identifies the content of their file."""

    def __init__(self, rules: Iterable[Rule] = (), version: str = "") -> None:
        self.rules = tuple(rules)
        self.version = version
        self._rulings = lru_cache(maxsize=4096)(self._decide)

    def ruling(self, about: Subject) -> Ruling:
        """Return the decision for a conversation."""
        return self._rulings(about)

    def _decide(self, about: Subject) -> Ruling:
        applying: list[Rule] = []
        for rule in self.rules:
            if rule.mismatch(about):
                continue
            applying.append(rule)
            if not rule.tool:
                return Ruling(
                    rule.name, rule.mode, rule.share, rule.markers, rule.quota, tool_rules(applying)
                )
        return Ruling(tools=tool_rules(applying))


def matches(globs: tuple[str, ...], value: str) -> bool:
    """Return whether any glob (``*``, ``?``, ``[...]``) matches ``value``; no globs match all."""
    return not globs or any(fnmatchcase(value, glob) for glob in globs)
