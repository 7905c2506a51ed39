"""What was judged, as tables, a plot and promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from loadtest.plot import blank, save

from .judge import Judged
from .share import Share

Judgements = Mapping[str, Sequence[Judged]]
"""By system, one for each sample, in the same order."""
_COLOURS = {"in sight": "#1f6f54", "behind a marker": "#93a5d8", "lost": "#b5532a"}
_MOST_SHARE_PERCENT = 10.0
"""What the check may take of the engines' own time, on average."""


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _row(name: Sequence[str], found: Sequence[Judged]) -> str:
    facts = sum(x.in_sight + x.behind + x.lost for x in found)
    before, after = sum(x.before for x in found), sum(x.after for x in found)
    must, hidden = sum(x.must for x in found), sum(len(x.hidden) for x in found)
    originals = sum(x.originals for x in found)
    exact = originals - sum(x.inexact for x in found)
    cells = [
        *name,
        str(len(found)),
        _percent(sum(x.in_sight for x in found), facts),
        _percent(sum(x.behind for x in found), facts),
        str(sum(x.lost for x in found)),
        str(sum(len(x.made_up) for x in found)),
        _percent(must - hidden, must),
        f"{exact} of {originals}" if originals else "–",
        _percent(before - after, before),
    ]
    return "| " + " | ".join(cells) + " |"


_HEAD = (
    "texts | facts in sight | behind a marker | lost | lines made up | must be seen: seen "
    "| originals exact | saved |"
)


def by_engine(found: Sequence[Judged]) -> str:
    """Return one system's table by content kind and engine, in Markdown."""
    groups: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for judged in found:
        groups[judged.family, judged.engine or "as it came"].append(judged)
    lines = [f"| kind | engine | {_HEAD}", "|" + "---|" * 10]
    lines += [_row(group, groups[group]) for group in sorted(groups)]
    return "\n".join([*lines, _row(("**all**", ""), found)])


def by_system(judgements: Judgements) -> str:
    """Return the systems side by side, by content kind, in Markdown."""
    lines = [f"| kind | system | {_HEAD}", "|" + "---|" * 10]
    for family in _families(judgements):
        for system, found in judgements.items():
            lines.append(_row((family, system), [x for x in found if x.family == family]))
    for system, found in judgements.items():
        lines.append(_row(("**all**", f"**{system}**"), found))
    return "\n".join(lines)


def _families(judgements: Judgements) -> list[str]:
    return list(dict.fromkeys(x.family for found in judgements.values() for x in found))


def shares(found: Mapping[str, Share]) -> str:
    """Return the check's share of time by content kind, in Markdown."""
    lines = ["| kind | engines, ms | check, ms | check's share |", "|---|---|---|---|"]
    for family, share in [*found.items(), ("**all**", total(found.values()))]:
        lines.append(
            f"| {family} | {share.engines:.0f} | {share.check:.0f} | {share.percent:.0f} % |"
        )
    return "\n".join(lines)


def total(found: Iterable[Share]) -> Share:
    """Return the sum of the shares' times."""
    every = list(found)
    return Share(sum(x.check for x in every), sum(x.engines for x in every))


def promises(found: Sequence[Judged], share: Share) -> list[tuple[str, bool]]:
    """Return what is promised of the farm, with the first fault, and whether it holds."""
    hidden = [f"{x.sample}: {y[:80]}" for x in found for y in x.hidden]
    made_up = [f"{x.sample}: {y[:80]}" for x in found for y in x.made_up]
    lost = [x.sample for x in found if x.lost]
    inexact = [x.sample for x in found if x.inexact]
    return [
        (_said("what must be seen is in sight", hidden), not hidden),
        (_said("no fact is lost", lost), not lost),
        (_said("no line is made up", made_up), not made_up),
        (_said("every original comes back exactly", inexact), not inexact),
        (
            f"the check takes at most {_MOST_SHARE_PERCENT:.0f} % of the engines' time on average "
            f"({share.percent:.1f} %)",
            share.percent <= _MOST_SHARE_PERCENT,
        ),
    ]


def _said(promise: str, faults: Sequence[str]) -> str:
    return f"{promise} ({len(faults)} faults: {faults[0]})" if faults else promise


def draw(judgements: Judgements, path: Path) -> None:
    """Write the plot of what a reader has of the facts, by kind and system, as SVG."""
    rows = [(family, system) for family in _families(judgements) for system in judgements]
    figure, axes = blank(8, 0.19 * len(rows) + 1.4)
    left = [0.0] * len(rows)
    for part, field in (("in sight", "in_sight"), ("behind a marker", "behind"), ("lost", "lost")):
        widths = []
        for family, system in rows:
            found = [x for x in judgements[system] if x.family == family]
            facts = sum(x.in_sight + x.behind + x.lost for x in found)
            widths.append(100 * sum(getattr(x, field) for x in found) / max(1, facts))
        axes.barh(range(len(rows)), widths, 0.8, left=left, label=part, color=_COLOURS[part])
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [f"{a}, {b}" for a, b in rows], fontsize="x-small")
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent of the facts in the original")
    figure.legend(frameon=False, fontsize="small", loc="outside upper center", ncols=3)
    save(figure, path)
