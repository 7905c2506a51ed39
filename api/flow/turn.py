"""One request while it is worked on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.deadline import Deadline
from shared.jobs import Detection, Original
from shared.upstream import Counter

from .body import Split
from .facts import Message, Plan, decode
from .options import RequestOptions
from .sessions import Session

ANSWER_SECONDS = 0.02
"""Kept back from the deadline for putting the answer together."""


@dataclass(slots=True)
class Turn:
    """One request while it is worked on."""

    session: Session
    split: Split
    messages: list[Message]
    counter: Counter
    options: RequestOptions
    deadline: Deadline
    decoded: dict[int, dict[str, Any]] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    query: str = ""
    originals: dict[str, Original] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    detections: dict[str, Detection] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    hits: int = 0
    misses: int = 0
    fresh: set[str] = field(default_factory=set)

    def raw(self, index: int) -> bytes:
        """Return message ``index`` as it came."""
        start, end = self.split.spans[index]
        return self.split.body[start:end]

    def message(self, index: int) -> dict[str, Any]:
        """Return message ``index`` decoded (once)."""
        if index not in self.decoded:
            self.decoded[index] = decode(self.raw(index))
        return self.decoded[index]
