"""The bills as a table, a plot and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadtest.plot import blank, save

from .replay import Bills

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TARGET_PERCENT = -15.0
"""What recorded sessions of Claude Code are to save on average."""
AS_PROXY = "farm, as proxy"
"""The column of the farm between a client and its provider; ``farm`` is ``/v1/compress``."""
_COLOURS = ("#8fc1ad", "#1f6f54", "#8a8a8a", "#b8b0a0", "#4b64a6", "#93a5d8", "#b5532a")


def table(bills: Bills, systems: Sequence[str]) -> str:
    """Return the change of the bill by session and system, in Markdown."""
    columns = [name for name in systems if name != "none"]
    lines = [
        "| session | requests | tokens sent | " + " | ".join(columns) + " | turns changed (farm) |",
        "|---|---|---|" + "---|" * (len(columns) + 1),
    ]
    for session, row in bills.bills.items():
        base = row["none"].bill
        changes = [_percent(bills.change(session, name)) for name in columns]
        changed = str(row["farm"].changed) if "farm" in row else "–"
        head = [session, str(base.requests), f"{base.tokens:,.0f}"]
        lines.append("| " + " | ".join([*head, *changes, changed]) + " |")
    means = [_percent(bills.mean(name, list(bills.bills))) for name in columns]
    lines.append("| **mean** | | | " + " | ".join(f"**{mean}**" for mean in means) + " | |")
    return "\n".join(lines)


def _percent(change: float | None) -> str:
    return "–" if change is None else f"{change:+.1f} %"


def verdicts(bills: Bills, recorded: Sequence[str]) -> list[tuple[str, bool]]:
    """Return what is promised and whether it is met; only what was measured is judged."""
    dearer = [*bills.dearer("farm"), *bills.dearer(AS_PROXY)]
    text = f"no session dearer with the farm ({', '.join(dearer) or 'none is'})"
    found = [(text, not dearer)]
    claude = [name for name in recorded if name.startswith("claude")]
    mean = bills.mean("farm", claude)
    if mean is not None:
        text = f"recorded Claude Code sessions {TARGET_PERCENT:+.0f} % on average ({mean:+.1f} %)"
        found.append((text, mean <= TARGET_PERCENT))
    return found


def draw(bills: Bills, systems: Sequence[str], path: Path) -> None:
    """Write the plot of the changes as SVG."""
    columns = [name for name in systems if name != "none"]
    sessions = list(bills.bills)
    figure, axes = blank(8, 0.55 * len(sessions) + 1.6)
    height = 0.8 / max(1, len(columns))
    for i, name in enumerate(columns):
        places = [row + i * height for row in range(len(sessions))]
        widths = [bills.change(session, name) or 0.0 for session in sessions]
        axes.barh(places, widths, height, label=name, color=_COLOURS[i % len(_COLOURS)])
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(sessions))], sessions)
    axes.invert_yaxis()
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_xlabel("change of the bill in per cent (left: cheaper than without)")
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    save(figure, path)


def write(page: Path, measured: str) -> None:
    """Put ``measured`` between the page's two marks.

    Raises:
        ValueError: the page has not got them.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for what was measured")
    page.write_text(f"{before}{BEGIN}\n{measured.strip()}\n{END}{after}")
