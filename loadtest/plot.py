"""Plots as SVG files: the same numbers give the same bytes.

Matplotlib takes a second to load, so it is loaded with the first plot, not with the modules that
can draw one: each process of the tests imports those.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of that size in inches, and its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rc("svg", hashsalt="headroom-farm", fonttype="none")
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure to ``path``, whose folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
