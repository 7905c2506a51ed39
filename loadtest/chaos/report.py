"""The results of a scenario, and whether a promise was broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

HEAD = (
    "scenario", "requests", "answered 200", "worst ms past the deadline", "jobs run twice",
    "ledger difference", "seconds to full health",
)  # fmt: skip
STREAMS_HEAD = (
    "scenario", "streams", "ended as they should", "requests changed",
    "ms until the head, p50", "the worst", "left open", "other requests", "answered 200",
    "seconds to full health",
)  # fmt: skip


@dataclass
class StreamsOutcome:
    """What became of the streams of a scenario of the proxy.

    `well` is how many ended as they should, or whose client went away; `changed` how many requests
    reached the provider compressed; `p50_ms` and `worst_ms` are times until the head of an answer,
    without the provider's own; `left` is how many were open at the end.
    """

    asked: int
    well: int
    changed: int
    p50_ms: float
    worst_ms: float
    left: int


@dataclass
class Outcome:
    """One scenario's row. `broken` names the promises it broke; `notes` what else was seen.

    `worst_ms` is the latest answer against its deadline, below zero where all were early;
    `ledger` the requests and tokens that the ledger has more than the answers.
    """

    scenario: str
    requests: int = 0
    answered: int = 0
    tried_again: int = 0
    worst_ms: float = 0.0
    again: int = 0
    ledger: tuple[int, int] = (0, 0)
    health_seconds: float | None = None
    degraded: dict[str, int] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    streams: StreamsOutcome | None = None

    def cells(self) -> list[str]:
        """Return the row's cells, as `HEAD` names them."""
        answered = f"{self.answered}"
        if self.tried_again:
            answered += f" ({self.tried_again} tried again)"
        requests, tokens = self.ledger
        ledger = "0" if self.ledger == (0, 0) else f"{requests:+} requests, {tokens:+} tokens"
        health = "-" if self.health_seconds is None else f"{self.health_seconds:.1f}"
        worst = f"{self.worst_ms:.0f}" if self.worst_ms > 0 else "none"
        cells = [self.scenario, str(self.requests), answered, worst, str(self.again)]
        return [*cells, ledger, health]

    def stream_cells(self) -> list[str]:
        """Return the row's cells, as `STREAMS_HEAD` names them; none where there is no stream."""
        if self.streams is None:
            return []
        seen = self.streams
        times = ("-", "-") if not seen.worst_ms else (round(seen.p50_ms), round(seen.worst_ms))
        figures: tuple[int | str, ...] = (seen.asked, seen.well, seen.changed, *times, seen.left)
        health = self.cells()[-1]
        beside = [str(self.requests), str(self.answered), health]
        return [self.scenario, *map(str, figures), *beside]

    def json(self) -> dict[str, Any]:
        """Return everything, for a file."""
        return dataclasses.asdict(self)


def table(outcomes: Sequence[Outcome], *, markdown: bool = False) -> str:
    """Return the outcomes as tables, for people or for a page; the proxy's have their own."""
    alone = [outcome.cells() for outcome in outcomes if outcome.streams is None]
    proxied = [outcome.stream_cells() for outcome in outcomes if outcome.streams is not None]
    pairs = ((HEAD, alone), (STREAMS_HEAD, proxied))
    return "\n\n".join([_table([list(head), *rows], markdown) for head, rows in pairs if rows])


def _table(lines: Sequence[Sequence[str]], markdown: bool) -> str:
    if markdown:
        rows = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def broken(outcomes: Sequence[Outcome]) -> list[str]:
    """Return each broken promise with its scenario."""
    return [f"{o.scenario}: {what}" for o in outcomes for what in o.broken]
