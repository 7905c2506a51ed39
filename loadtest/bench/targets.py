"""The benchmark's targets, the measured values, and whether each target was met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from loadtest.results import Results, spread
from loadtest.scenarios import TURNS

from .memory import Memory
from .suite import BY_TURN, FRESH, GROWING, LIGHT, NOTHING_NEW, WORKERS

_REDIS_COMMANDS = 30


class Verdict(NamedTuple):
    """One target. ``met`` is None if it was not measured."""

    what: str
    target: str
    measured: str
    met: bool | None


def verdicts(
    results: Results, savings: dict[str, dict[str, float]], memory: Memory | None, memo_mb: int
) -> list[Verdict]:
    """Judge a run; ratios are medians of the repetitions' own ratios."""
    farm60 = results.values(BY_TURN, "turn 60 p50 ms", "farm")
    found = [
        at_most("turn 60 again (650 KB, 240 messages), p50", farm60, 4.0, "ms"),
        _times("turn 60 again, faster than inline", results, BY_TURN, "turn 60 p50 ms", 6.0),
        _times("8 users, growing sessions", results, GROWING, "req/s", 4.0),
        _times("8 users, growing, grep, diff and JSON blocks", results, LIGHT, "req/s", 4.0),
        _times("8 users, nothing new", results, NOTHING_NEW, "req/s", 6.0),
        _flat(results),
        at_most(
            "a fresh block, p50 over inline",
            results.values(FRESH, "added p50 ms", "farm"),
            6.0,
            "ms",
        ),
        _least(
            "two cpu workers, one queue, over one",
            results.ratios(WORKERS, "jobs/s", "two", "one"),
            1.7,
        ),
        at_most(
            "Redis commands, 8 users, nothing new, scripts' own counted",
            results.values(NOTHING_NEW, "redis commands/req", "farm"),
            _REDIS_COMMANDS,
            "a request",
        ),
    ]
    for kind, saved in savings.items():
        ours, theirs = saved["farm"], saved["headroom"]
        found.append(
            Verdict(
                f"saved of {kind}",
                f"headroom's own {theirs:.1f} %",
                f"{ours:.1f} %",
                ours >= theirs - 0.05,
            )
        )
    found.append(_bounded(memory, memo_mb))
    return found


def at_most(what: str, values: Sequence[float], limit: float, unit: str) -> Verdict:
    target = f"<= {limit:g} {unit}"
    if not values:
        return Verdict(what, target, "not measured", None)
    return Verdict(what, target, f"{spread(values)} {unit}", statistics.median(values) <= limit)


def _least(what: str, values: Sequence[float], limit: float) -> Verdict:
    target = f">= {limit:g} times"
    if not values:
        return Verdict(what, target, "not measured", None)
    return Verdict(what, target, f"{spread(values)} times", statistics.median(values) >= limit)


def _times(what: str, results: Results, scenario: str, figure: str, limit: float) -> Verdict:
    """Judge the farm against the inline peer; of latencies the peer's is the larger."""
    pair = ("farm", "inline") if figure == "req/s" else ("inline", "farm")
    return _least(f"{what}, over inline", results.ratios(scenario, figure, *pair), limit)


def _flat(results: Results) -> Verdict:
    """A turn's time may grow with its bytes, and less than they do."""
    what, target = "a turn with nothing new, 10 -> 60 turns", "grows less than its bytes"
    early, late = (results.median(BY_TURN, f"turn {t} again ms", "farm") for t in (10, TURNS))
    small, large = (results.median(BY_TURN, f"turn {t} KB", "farm") for t in (10, TURNS))
    if not (early and late and small and large):
        return Verdict(what, target, "not measured", None)
    slope = (late - early) / (large - small) * 100
    text = (
        f"{early:.2f} -> {late:.2f} ms ({late / early:.1f} times) for {large / small:.1f} times "
        f"the bytes; {slope:.2f} ms a further 100 KB"
    )
    return Verdict(what, target, text, late / early < large / small)


def _bounded(memory: Memory | None, memo_mb: int) -> Verdict:
    what = f"a front end's memory, HEADROOM_MEMO_BYTES={memo_mb} MiB"
    target = "growth stops"
    if memory is None:
        return Verdict(what, target, "not measured", None)
    text = (
        f"idle {memory.idle:.0f} MiB, at most {memory.peak:.0f} MiB after "
        f"{len(memory.resident)} users; the last third added {memory.late_growth:.0f}"
    )
    return Verdict(what, target, text, memory.late_growth < memo_mb / 8)
