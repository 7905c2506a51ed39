"""Injects every fault that a farm promises to survive, under load, and prints the results.

`python -m loadtest.chaos` plays every scenario, each on a new farm on this machine, prints
the table and ends with status 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from .load import material
from .proxied import PROXIED
from .report import broken, table
from .run import Runner
from .scenarios import SCENARIOS


def main() -> None:
    """Read the command line, play, print the table."""
    every = (*SCENARIOS, *PROXIED)
    names = [scenario.name for scenario in every]
    parser = argparse.ArgumentParser(prog="python -m loadtest.chaos", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=names, metavar="NAME")
    parser.add_argument("--proxy", action="store_true", help="all scenarios of the proxy")
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    parser.add_argument("--seconds", type=float, default=12.0, help="about how long a fault lasts")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1, help="of the material and the choices")
    parser.add_argument("--margin-ms", type=float, default=100.0, help="past the deadline")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was seen there")
    options = parser.parse_args()
    if options.list:
        print("\n".join(names))
        return
    wanted = options.scenario or ([s.name for s in PROXIED] if options.proxy else names)
    chosen = [scenario for scenario in every if scenario.name in wanted]
    turns = material(options.clients, options.seed)
    runner = Runner(turns, options.seconds, options.seed, options.margin_ms)
    outcomes = []
    for scenario in chosen:
        outcome = asyncio.run(runner.play(scenario))
        outcomes.append(outcome)
        said = "BROKEN" if outcome.broken else "held"
        cells = outcome.stream_cells() or outcome.cells()
        print(f"{said}: {'  '.join(cells)}", file=sys.stderr, flush=True)
    print(table(outcomes, markdown=options.markdown))
    for line in broken(outcomes):
        print(f"BROKEN {line}")
    if options.json:
        options.json.write_text(json.dumps([o.json() for o in outcomes], indent=1) + "\n")
    raise SystemExit(1 if broken(outcomes) else 0)


if __name__ == "__main__":
    main()
