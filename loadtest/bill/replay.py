"""Replays sessions through systems and bills the requests that the provider would receive."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .prompt_cache import SessionBill, bill_of, without_marks
from .systems import NotTaken, System, SystemFailed

Body = dict[str, Any]


@dataclass(frozen=True)
class Bill:
    """A session through a system: its bill, and the turns that changed what was sent before."""

    bill: SessionBill
    changed: int


@dataclass
class Bills:
    """Bills by session and system; ``failures`` says what could not be measured."""

    bills: dict[str, dict[str, Bill]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def change(self, session: str, system: str) -> float | None:
        """Return the change of the bill against none, in per cent; None if not measured."""
        found = self.bills[session]
        if system not in found or "none" not in found:
            return None
        return 100 * (found[system].bill.cost / found["none"].bill.cost - 1)

    def mean(self, system: str, sessions: Sequence[str]) -> float | None:
        """Return the mean change of the bill over those of ``sessions`` that were measured."""
        changes = [self.change(session, system) for session in sessions]
        found = [change for change in changes if change is not None]
        return sum(found) / len(found) if found else None

    def dearer(self, system: str) -> list[str]:
        """Return the sessions that cost more with ``system`` than without."""
        return [s for s in self.bills if (self.change(s, system) or 0.0) > 0.0]


def replay(system: System, name: str, bodies: Sequence[Body]) -> Bill:
    """Send a session through ``system``, turn by turn, and return its bill.

    Raises:
        NotTaken, SystemFailed: it cannot be replayed.
    """
    system.begin(f"{name}-{secrets.token_hex(4)}")
    sent = [system.turn(body) for body in bodies]
    return Bill(bill_of(sent, str(bodies[0]["model"])), changed_turns(sent))


def changed_turns(sent: Sequence[Body]) -> int:
    """Return how many requests do not begin with the messages of the one before."""
    changed = 0
    before: list[Any] = []
    for body in sent:
        now = without_marks(body.get("messages") or body.get("input"))
        changed += now[: len(before)] != before
        before = now
    return changed


def replay_all(sessions: Mapping[str, Sequence[Body]], systems: Sequence[System]) -> Bills:
    """Return the bills of every session through every system."""
    found = Bills()
    broken: set[str] = set()
    for name, bodies in sessions.items():
        row = found.bills.setdefault(name, {})
        for system in systems:
            if system.name in broken:
                continue
            try:
                row[system.name] = replay(system, name, bodies)
            except NotTaken:
                continue
            except SystemFailed as error:
                broken.add(system.name)
                found.failures.append(f"{system.name} on {name}: {error}")
    return found
