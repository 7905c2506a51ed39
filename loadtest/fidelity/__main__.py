"""Measures what a reader still has of tool results: in sight, behind a marker, lost, made up.

    python -m loadtest.fidelity                    everything, and the page docs/fidelity.md
    python -m loadtest.fidelity --seeds 2 --no-page

The results are generated, so nobody's session is needed: the output of some fifty programs in three
sizes. Ends with status 1 where the farm hides what must be seen, loses a fact, makes up a line or
gives back another original.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from loadtest.bench.servers import Servers

# The page's place for what was measured is written as the bill's is.
from loadtest.bill.report import write

from .harness import HARNESSES
from .judge import Judged, judge
from .logs import LOGS
from .programs import PROGRAMS
from .report import Judgements, by_engine, by_system, draw, promises, shares, total
from .runs import RUNS
from .sample import Sample
from .share import Share, measure
from .systems import Farm, Library, MiddleOut, RandomLines, System
from .tables import TABLES

_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, PLOT = _DOCS / "fidelity.md", _DOCS / "fidelity" / "facts.svg"
_SIZES = (60, 400, 1500)
"""Lines of a sample, about."""
MAKERS = (*LOGS, *HARNESSES, *TABLES, *RUNS, *PROGRAMS)


def samples(seeds: int) -> list[Sample]:
    """Return every kind of output in every size, ``seeds`` times; always the same ones."""
    return [
        make(random.Random(f"{make.__name__}-{size}-{seed}"), size)
        for seed in range(seeds)
        for make in MAKERS
        for size in _SIZES
    ]


def judged(found: list[Sample], url: str) -> dict[str, list[Judged]]:
    """Return the judgements of the farm at ``url`` and of what it is compared with."""
    farm, library = Farm(url), Library()
    others: list[System] = [library, MiddleOut(), RandomLines()]
    results: dict[str, list[Judged]] = {system.name: [] for system in (farm, *others)}
    try:
        for sample in found:
            result = farm.shown(sample)
            results[farm.name].append(judge(sample, *result))
            for system in others:
                other = system.shown(sample, len(result.text))
                results[system.name].append(judge(sample, *other))
    finally:
        library.close()
    return results


def page_of(results: Judgements, share: dict[str, Share], seeds: int) -> str:
    """Return what was measured, in Markdown."""
    day = datetime.now(UTC).date().isoformat()
    held = promises(results["farm"], total(share.values()))
    return "\n".join(
        [
            f"`make fidelity`{'' if seeds == 1 else f' with {seeds} seeds'}, {day}, headroom-ai "
            f"{version('headroom-ai')}, {len(results['farm'])} texts. The farm:",
            "",
            *(f"* {'met' if met else '**MISSED**'}: {text}" for text, met in held),
            "",
            by_engine(results["farm"]),
            "",
            "Side by side; middle out and random lines have as many characters as the farm used:",
            "",
            by_system(results),
            "",
            "![what a reader has of the facts, by kind and system](fidelity/facts.svg)",
            "",
            "The check's share of a worker's processor time:",
            "",
            shares(share),
        ]
    )


def main() -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.fidelity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=1, help="how often each kind is made")
    parser.add_argument("--farm", help="the URL of a running farm; else one is started")
    parser.add_argument("--no-page", action="store_true", help="print, and leave docs/ alone")
    options = parser.parse_args()
    found = samples(options.seeds)
    with (
        tempfile.TemporaryDirectory(prefix="fidelity-") as folder,
        Servers(Path(folder)) as servers,
    ):
        url = options.farm or servers.farm("farm", cpu=1, settings={"deadline_ms": "10000"}).url
        results = judged(found, url)
    share = measure(found)
    measured = page_of(results, share, options.seeds)
    print(measured)
    if not options.no_page:
        draw(results, PLOT)
        write(PAGE, measured)
    faults = [text for text, met in promises(results["farm"], Share(0.0, 1.0)) if not met]
    for fault in faults:
        print(f"!!! MISSED: {fault}", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
