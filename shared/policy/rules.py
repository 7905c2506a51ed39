"""The rules of a policy, and what they match."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

Mode = Literal["on", "audit", "off"]
Markers = Literal["ccr", "none", "if_redeemable"]
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


def matches(globs: tuple[str, ...], value: str) -> bool:
    """Return whether any glob (``*``, ``?``, ``[...]``) matches ``value``; no globs match all."""
    return not globs or any(fnmatchcase(value, glob) for glob in globs)
