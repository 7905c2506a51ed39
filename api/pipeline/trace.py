"""The trace of one request, made on demand: its stages, and what happened to each text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Trace:
    """The record of a request while it is processed.

    ``stages`` are milliseconds, ``unknown`` the block keys without a form in this process,
    ``messages`` the reports of :func:`api.pipeline.trace_report.observe` on each message.
    """

    stages: dict[str, float] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    messages: list[dict[str, Any]] = field(default_factory=list)
    _since: float = field(default_factory=time.perf_counter)

    def mark(self, stage: str, ended: float | None = None) -> None:
        """Record that ``stage`` ended, by default now; it took the time since the last stage."""
        now = time.perf_counter() if ended is None else ended
        self.stages[stage] = (now - self._since) * 1000
        self._since = now
