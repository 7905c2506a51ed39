"""Runs the scenarios against several targets in alternation and compares them.

`python -m loadtest.drive --target inline=http://127.0.0.1:8099 --target farm=http://...`
alternates the targets within each repetition and prints the medians over the repetitions, their
range, and the last target relative to the first. Users and material are new in every repetition,
so that no cache, of a user or of a process, has seen any of it. Within a repetition every target
gets the same material (except in `fresh`, where this process compresses it too, and so would have
seen it).

`--pid NAME=PID` adds the processor time of a target: that process and all its children. The
driver's own processor time is always shown, because it shares the machine.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.results import Row, table
from loadtest.scenarios import LIGHT_KINDS, fresh_block, growing, nothing_new, turn60
from loadtest.target import Target

SCENARIOS = ("turn60", "growing", "growing-light", "nothing-new", "fresh")

_SEEDS = 10_000
"""Seeds reserved for a scenario in a repetition: more than any scenario uses."""


@dataclass(frozen=True)
class Plan:
    """The size of each scenario."""

    users: int
    repeats: int
    seconds: float
    samples: int
    first: int
    last: int

    def play(self, scenario: str, target: Target, seed: int) -> dict[str, float]:
        """Run one scenario once against one target and return its figures by name."""
        prefix = f"{secrets.token_hex(4)}-"
        if scenario == "turn60":
            times = turn60(target, f"{prefix}solo", self.repeats, seed=seed)
            return {"p50 ms": statistics.median(times) * 1e3, "max ms": max(times) * 1e3}
        if scenario in ("growing", "growing-light"):
            return growing(
                target,
                self.users,
                seed=seed,
                prefix=prefix,
                kinds=LIGHT_KINDS if scenario == "growing-light" else None,
                first=self.first,
                last=self.last,
            ).figures()
        if scenario == "nothing-new":
            return nothing_new(target, self.users, self.seconds, seed=seed, prefix=prefix).figures()
        blocks = fresh_block(target, self.samples, seed=seed, prefix=prefix)
        return {
            "p50 ms": statistics.median(block.target for block in blocks) * 1e3,
            "inline p50 ms": statistics.median(block.inline for block in blocks) * 1e3,
            "added p50 ms": statistics.median(b.target - b.inline for b in blocks) * 1e3,
            "blocks": len(blocks),
        }


def compare(
    targets: Sequence[Target], scenarios: Sequence[str], plan: Plan, repetitions: int, seed: int
) -> list[Row]:
    """Run every scenario against every target, and collect the figures.

    The targets alternate within a repetition, and their order changes from one to the next.
    """
    rows: dict[tuple[str, str], Row] = {}
    for number, scenario in enumerate(scenarios):
        for repetition in range(repetitions):
            own = seed + (repetition * len(scenarios) + number) * _SEEDS
            numbered = list(enumerate(targets))
            for at, target in reversed(numbered) if repetition % 2 else numbered:
                apart = at * (_SEEDS // len(targets)) if scenario == "fresh" else 0
                for figure, value in plan.play(scenario, target, own + apart).items():
                    empty = Row(scenario, figure, {each.name: [] for each in targets})
                    row = rows.setdefault((scenario, figure), empty)
                    row.values[target.name].append(value)
    return list(rows.values())


def _named(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not (name and mark and value):
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {text}")
    return name, value


def main() -> None:
    """Read the command line, run the scenarios, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.drive",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--target", type=_named, action="append", required=True, metavar="NAME=URL")
    parser.add_argument("--pid", type=_named, action="append", default=[], metavar="NAME=PID")
    parser.add_argument("--scenario", choices=(*SCENARIOS, "all"), default="all")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--users", type=int, default=8, help="users of growing and nothing-new")
    parser.add_argument("--first", type=int, default=21, help="growing: the first timed turn")
    parser.add_argument("--last", type=int, default=60, help="growing: the last turn")
    parser.add_argument("--repeats", type=int, default=30, help="turn60: posts of turn 60")
    parser.add_argument("--seconds", type=float, default=5.0, help="nothing-new: duration")
    parser.add_argument("--samples", type=int, default=40, help="fresh: blocks")
    parser.add_argument(
        "--seed", type=int, default=None, help="seed of the material; random by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to this file")
    options = parser.parse_args()

    targets = [
        Target(name, url, tuple(int(pid) for of, pid in options.pid if of == name))
        for name, url in options.target
    ]
    plan = Plan(
        options.users,
        options.repeats,
        options.seconds,
        options.samples,
        options.first,
        options.last,
    )
    seed = secrets.randbelow(1 << 30) if options.seed is None else options.seed
    scenarios = SCENARIOS if options.scenario == "all" else (options.scenario,)
    rows = compare(targets, scenarios, plan, options.repetitions, seed)
    print(f"seed {seed}, {options.repetitions} repetitions: median (min-max)")
    print(table(rows))
    if options.json:
        found = [
            {"scenario": row.scenario, "figure": row.figure, "values": row.values} for row in rows
        ]
        options.json.write_text(json.dumps({"seed": seed, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
