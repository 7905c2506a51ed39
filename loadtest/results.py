"""Measured values by target and repetition, and their table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One figure of one scenario: its values by target, one per repetition."""

    scenario: str
    figure: str
    values: dict[str, list[float]]

    def ratio(self, target: str, base: str) -> float | None:
        """Return one target's median divided by another's; None if it is not meaningful."""
        values, others = self.values.get(target), self.values.get(base)
        if not values or not others or not statistics.median(others):
            return None
        return statistics.median(values) / statistics.median(others)


@dataclass
class Results:
    """All rows of a run, and a list of what could not be measured."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, scenario: str, target: str, figures: Mapping[str, float]) -> None:
        """Add one repetition's figures of one target."""
        for figure, value in figures.items():
            row = self.rows.setdefault((scenario, figure), Row(scenario, figure, {}))
            row.values.setdefault(target, []).append(value)

    def values(self, scenario: str, figure: str, target: str) -> list[float]:
        """Return a figure's values by repetition; empty if it was not measured."""
        row = self.rows.get((scenario, figure))
        return row.values.get(target, []) if row else []

    def median(self, scenario: str, figure: str, target: str) -> float | None:
        """Return a figure's median over the repetitions; None if it was not measured."""
        found = self.values(scenario, figure, target)
        return statistics.median(found) if found else None

    def ratios(self, scenario: str, figure: str, target: str, base: str) -> list[float]:
        """Return ``target`` over ``base`` per repetition, within which conditions were the same."""
        pairs = zip(
            self.values(scenario, figure, target),
            self.values(scenario, figure, base),
            strict=False,
        )
        return [value / other for value, other in pairs if other]


def table(rows: Sequence[Row]) -> str:
    """Return the comparison as text: median (min-max) per target, and the last over the first."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    ends = f"{names[-1]} / {names[0]}" if len(names) > 1 else ""
    lines = [["scenario", "figure", *names, ends]]
    for row in rows:
        ratio = row.ratio(names[-1], names[0])
        shown = "-" if ratio is None or len(names) < 2 else f"{ratio:.3f}"
        cells = [spread(row.values.get(name, [])) for name in names]
        lines.append([row.scenario, row.figure, *cells, shown])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return values as ``median (min-max)``, a single one as itself, none as a dash."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"
