"""The benchmark's plots, as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.plot import blank, save
from loadtest.results import Results
from loadtest.scenarios import TURNS

from .memory import Memory
from .suite import BY_TURN, CROWDS, GROWING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "farm": "#1f6f54",
    "inline": "#b5532a",
    "upstream session": "#4b64a6",
    "upstream": "#8a8a8a",
}


def draw(results: Results, memory: Memory | None, memo_mb: int, directory: Path) -> list[str]:
    """Write the plots for what was measured into ``directory``; return their file names."""
    names = []
    for figure, name in (
        (_by_turn(results, "again", "the same turn again"), "turn-again.svg"),
        (_by_turn(results, "new", "a new turn"), "turn-new.svg"),
        (_throughput(results), "throughput.svg"),
        (_memory(memory, memo_mb) if memory else None, "memory.svg"),
    ):
        if figure is not None:
            save(figure, directory / name)
            names.append(name)
    return names


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = blank(7.2, 3.8)
    axes.grid(visible=True, alpha=0.3)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _line(axes: Axes, name: str, points: Sequence[tuple[float, Sequence[float]]]) -> None:
    """Draw medians over the repetitions, and their range as a band."""
    places = [x for x, _ in points]
    colour = _COLOURS.get(name)
    axes.plot(
        places, [statistics.median(v) for _, v in points], label=name, color=colour, marker="."
    )
    low, high = [min(v) for _, v in points], [max(v) for _, v in points]
    axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def _by_turn(results: Results, which: str, what: str) -> Figure | None:
    figure, axes = _axes("turn (four messages each, 650 KB at 60)", f"ms, {what}")
    for name in _COLOURS:
        points = [
            (turn, found)
            for turn in range(1, TURNS + 1)
            if (found := results.values(BY_TURN, f"turn {turn} {which} ms", name))
        ]
        if points:
            _line(axes, name, points)
    return _finish(figure, axes, log=True)


def _throughput(results: Results) -> Figure | None:
    figure, axes = _axes("users at once, growing sessions", "requests a second")
    for name in _COLOURS:
        points = [
            (users, found)
            for users, label in CROWDS.items()
            if (found := results.values(GROWING if users == 8 else label, "req/s", name))
        ]
        if points:
            _line(axes, name, points)
    axes.set_xscale("log")
    axes.set_xticks(list(CROWDS), [str(users) for users in CROWDS])
    return _finish(figure, axes)


def _memory(memory: Memory, memo_mb: int) -> Figure | None:
    figure, axes = _axes("users that came, one session of 24 turns each", "MiB resident")
    axes.plot(range(1, len(memory.resident) + 1), memory.resident, color=_COLOURS["farm"])
    axes.lines[0].set_label("front end")
    axes.axhline(memory.idle, color="#8a8a8a", linestyle=":", label="idle")
    axes.axhline(
        memory.idle + memo_mb, color="#b5532a", linestyle="--", label="idle + HEADROOM_MEMO_BYTES"
    )
    axes.set_ylim(bottom=0)
    return _finish(figure, axes)


def _finish(figure: Figure, axes: Axes, *, log: bool = False) -> Figure | None:
    if not axes.lines:
        return None
    if log:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure
