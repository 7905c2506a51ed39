"""What a run says of the proxy: its targets, and its block of docs/performance.md."""

from __future__ import annotations

import statistics

from loadtest.first_byte import FRESH, KINDS, NOTHING_NEW
from loadtest.results import Results, spread

from .pages import Run, head, markdown, targets
from .proxied import DIRECT, ENGINE, FARM, FIRST, OPEN, SAME, UPSTREAM
from .targets import Verdict, at_most

SCENARIOS = (*FIRST.values(), OPEN, SAME)
_NAMES = (DIRECT, UPSTREAM, FARM, ENGINE)
_MOST_MS = 5.0


def verdicts(results: Results, streams: int) -> list[Verdict]:
    """Judge the proxy's part of a run, if there was one."""
    if not any(scenario == FIRST[NOTHING_NEW] for scenario, _ in results.rows):
        return []
    found = [
        at_most(
            f"proxy: first byte over the provider's own, {kind}",
            results.values(FIRST[kind], "over direct p50 ms", FARM),
            _MOST_MS,
            "ms",
        )
        for kind in KINDS
    ]
    found.append(
        at_most(
            f"the same, {FRESH}, over provider and engines",
            results.values(FIRST[FRESH], "over direct and engines p50 ms", FARM),
            _MOST_MS,
            "ms",
        )
    )
    whole = results.values(OPEN, "whole", FARM)
    found.append(
        Verdict(
            f"proxy: {streams} open streams on one front end",
            "all whole",
            f"{min(whole):.0f} whole" if whole else "not measured",
            min(whole) == streams if whole else None,
        )
    )
    same, asked = (results.values(SAME, name, FARM) for name in ("the same", "of"))
    found.append(
        Verdict(
            "proxy: streams without retrieval",
            "the provider's bytes",
            f"{sum(same):.0f} of {sum(asked):.0f} the same" if asked else "not measured",
            sum(same) == sum(asked) if asked else None,
        )
    )
    return found


def block(run: Run) -> str:
    """Return the proxy's block of the page."""
    parts = [*head(run), markdown(targets(run.proxy)), "", markdown(_rows(run.results))]
    return "\n".join([*parts, *_memory(run.results)])


def _rows(results: Results) -> list[tuple[str, ...]]:
    """Return the proxy's table: figures by target, of the repetitions."""
    wanted = [(FIRST[kind], figure) for kind in KINDS for figure in ("p50 ms", "p95 ms")]
    wanted += [(FIRST[kind], "over direct p50 ms") for kind in KINDS]
    wanted += [
        (OPEN, figure)
        for figure in (
            "a piece's delay p50 ms",
            "a piece's delay p95 ms",
            "between pieces p50 ms",
            "between pieces p95 ms",
            "front end's cpu us/piece",
        )
    ]
    found: list[tuple[str, ...]] = [("", *_NAMES)]
    for scenario, figure in wanted:
        cells = [spread(results.values(scenario, figure, name)) for name in _NAMES]
        found.append((f"{scenario}: {figure}", *cells))
    return found


def _memory(results: Results) -> list[str]:
    """Return a sentence on the front end's memory, if it was measured."""
    names = ("MiB before", "MiB open", "MiB after")
    found = [results.values(OPEN, name, FARM) for name in names]
    if not all(found):
        return []
    before, during, after = (statistics.median(values) for values in found)
    return [
        f"\nThe front end's resident memory: {before:.0f} MiB before the streams, {during:.0f} MiB "
        f"while they were open, {after:.0f} MiB after."
    ]
