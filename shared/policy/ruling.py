"""The policy's decision for a conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .control_group import Arm, arm_of
from .rules import Markers, Mode, Quota, Rule, Subject
from .tool_rules import tool_rules

NO_RULE = "default"
"""Rule name reported when no rule matches."""


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
        """Return how the session with this digest is treated."""
        return arm_of(session, self.mode, self.share)


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
