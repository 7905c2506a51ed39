"""The way one request took, for whoever asks to see it: stage by stage, text by text."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Trace:
    """What is noted of a request while it is worked on; without one nothing is noted.

    ``stages`` are milliseconds, ``unknown`` the block keys this process had no form of,
    ``messages`` what :func:`api.pipeline.trace_report.observe` saw of each message.
    """

    stages: dict[str, float] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    messages: list[dict[str, Any]] = field(default_factory=list)
    _since: float = field(default_factory=time.perf_counter)

    def mark(self, stage: str, ended: float | None = None) -> None:
        """Note that ``stage`` ended, now if not said: it took the time since the last one did."""
        now = time.perf_counter() if ended is None else ended
        self.stages[stage] = (now - self._since) * 1000
        self._since = now
