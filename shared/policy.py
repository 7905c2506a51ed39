"""The policy: which conversations are compressed, how, and whose share of them.

A policy is a list of rules, the first that matches decides (``docs/policy.md``). The file is read
by :mod:`shared.policy_file`; here is what its rules mean.

Two questions are asked of it. Of a *conversation* (tenant, user, model): the first rule without a
``tool`` that matches gives its mode, share, markers and quota. Of a *tool's output* in it: the
first rule that matches, with or without a ``tool``, says whether it may be touched, by which
engines, and whether it may refer to earlier output.
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
"""What becomes of a conversation. ``control``: its rule's ``share`` left it out, for comparison."""

_Reversible = Literal[
    "farm_json", "farm_plain", "farm_prefix", "farm_records", "farm_repeats", "farm_search"
]
_Lossy = Literal["code_aware", "diff", "farm_extract", "farm_rows", "html", "log", "search", "text"]
EngineName = Literal["reversible", _Lossy, _Reversible]
"""What a policy may name: an engine, or all reversible ones at once."""
REVERSIBLE: tuple[str, ...] = get_args(_Reversible)
"""Engines whose result gives the exact text back."""
ENGINES: tuple[str, ...] = (*get_args(_Lossy), *REVERSIBLE)
"""Every engine that makes a form of a text, as answers and usage records name it."""
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)
FOLD = "fold"
"""How pauses name references to earlier output, which no engine makes."""
TOOL_CHARS = 64
"""Characters of a tool's name that feedback knows."""
NO_RULE = "default"
"""The name of what holds where no rule matches."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a minute may bring: requests, and tokens not sent before. None: any amount."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of each user, and of each tenant with all its users."""

    user: Limits | None = None
    tenant: Limits | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Empty globs match everything, ``engines`` None allows all.

    ``share`` is in per cent of the sessions.
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
        """Return why this rule does not match, its ``tool`` left out; empty if it does."""
        given = {"tenant": about.tenant, "user": about.user, "model": about.model}
        globs = {"tenant": self.tenant, "user": self.user, "model": self.model}
        for name, value in given.items():
            if not matches(globs[name], value):
                return f"{name} '{value}' is not {' or '.join(map(repr, globs[name]))}"
        return ""

    @property
    def without(self) -> frozenset[str]:
        """Return the engines that this rule forbids."""
        if self.engines is None:
            return frozenset()
        allowed = set(self.engines) | (set(REVERSIBLE) if "reversible" in self.engines else set())
        return frozenset(ENGINES) - allowed


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose conversation it is, and with which model. A user without a tenant is one."""

    tenant: str
    user: str
    model: str

    @classmethod
    def of(cls, name: str, model: str) -> Subject:
        """Return the subject of a user as requests name them: ``tenant/user``, or one name."""
        plain = name.rpartition("\t")[2]
        tenant, slash, user = plain.partition("/")
        if not slash:
            return cls(plain, plain, model)
        # A trusted service's user who is called like a tenant is none (api/http/auth.py).
        return cls(tenant or plain, user, model)


@dataclass(frozen=True, slots=True)
class ToolRuling:
    """What may happen to a tool's output: whether anything, by all engines but which, folds."""

    touched: bool = True
    without: frozenset[str] = frozenset()
    fold: bool = True


class _ToolRule(msgspec.Struct, frozen=True, array_like=True):
    """A rule over tools, as it travels: of ``tools``, those ``left_alone``, and of the others
    what engines and references may do."""

    tools: tuple[str, ...]
    left_alone: tuple[str, ...] | None
    without: tuple[str, ...]
    fold: bool

    @classmethod
    def of(cls, rule: Rule) -> _ToolRule:
        """Return what a rule says of tools; no globs match all tools, None none."""
        alone = () if rule.mode == "off" else rule.protect_tools or None
        return cls(rule.tool, alone, tuple(sorted(rule.without)), rule.fold)

    @property
    def changes(self) -> bool:
        """Whether it says anything that does not hold without it."""
        return self.left_alone is not None or bool(self.without) or not self.fold


class _ToolRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rules over a conversation's tools, in order, and the engines ``paused`` by tool."""

    rules: tuple[_ToolRule, ...] = ()
    paused: tuple[tuple[str, str], ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_ToolRules).decode


def _written(rules: _ToolRules) -> str:
    return _encode(rules).decode() if rules != _ToolRules() else ""


@lru_cache(maxsize=1024)
def paused(tools: str, pauses: tuple[tuple[str, str], ...]) -> str:
    """Return rules over tools, as in :class:`Ruling`, with further (engine, tool) pairs left out.

    The pairs are kept in one order, so that equal rules are equal texts.
    """
    rules = _decode(tools) if tools else _ToolRules()
    return _written(_ToolRules(rules.rules, tuple(sorted(pauses))))


@lru_cache(maxsize=8192)
def tool_ruling(tools: str, tool: str) -> ToolRuling:
    """Return what may happen to a tool's output; ``tool`` is empty if no call is known.

    ``tools`` are the rules, as in :class:`Ruling`.
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
    """What holds for a conversation.

    ``tools`` are the rules over the outputs in it, written as text: a request notes them for
    other replicas, and what was decided under them stays so when the policy changes.
    """

    rule: str = NO_RULE
    mode: Mode = "on"
    share: float = 100.0
    markers: Markers | None = None
    quota: Quota | None = None
    tools: str = ""

    def arm(self, session: bytes) -> Arm:
        """Return what becomes of the session of this digest: always the same at one ``share``.

        A larger share keeps the sessions of a smaller one.
        """
        if self.mode != "off" and position(session) >= self.share:
            return "control"
        return self.mode


def position(session: bytes) -> float:
    """Return where a session stands among all: at least 0, below 100, evenly distributed."""
    drawn = blake2b(session, digest_size=8, person=b"farm:share").digest()
    return int.from_bytes(drawn, "big") / 2**64 * 100


def tool_rules(rules: Iterable[Rule]) -> str:
    """Return what rules say of tools, as text; empty if they change nothing."""
    found = tuple(_ToolRule.of(rule) for rule in rules)
    return _written(_ToolRules(found)) if any(rule.changes for rule in found) else ""


class Policy:
    """Rules in order. ``version`` names their file's content."""

    def __init__(self, rules: Iterable[Rule] = (), version: str = "") -> None:
        self.rules = tuple(rules)
        self.version = version
        self._rulings = lru_cache(maxsize=4096)(self._decide)

    def ruling(self, about: Subject) -> Ruling:
        """Return what holds for a conversation."""
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
    """Return whether a glob (``*``, ``?``, ``[...]``) matches all of ``value``; none match all."""
    return not globs or any(fnmatchcase(value, glob) for glob in globs)
