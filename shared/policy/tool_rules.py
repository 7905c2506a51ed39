"""The rules for tools' outputs in a conversation, serialized with each of its requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from .rules import Rule, matches

FOLD = "fold"
"""Name used in pauses for references to earlier output, which are not made by an engine."""
TOOL_CHARS = 64
"""Tool names are cut to this many characters in feedback."""


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


def tool_rules(rules: Iterable[Rule]) -> str:
    """Return the tool rules of ``rules``, serialized; empty if they restrict nothing."""
    found = tuple(_ToolRule.of(rule) for rule in rules)
    return _written(_ToolRules(found)) if any(rule.changes for rule in found) else ""
