"""Capacity planning: the cost of a request, a simulation to check it, and what N users need.

    python -m loadtest.bench --json run.json
    python -m loadtest.capacity run.json

The simulation is a closed queueing network: users in a closed loop visit the front end, with some
probability a pool, and Redis. Each station has its processes, and all processes, including the
driver's, share the machine's cores. Its inputs are the processor times that the benchmark
measured for each part; its throughput and latency are compared with the measured ones.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.bench.pages import fill, markdown
from loadtest.bench.suite import CROWDS, GROWING
from loadtest.results import aligned

FRESH_SHARE = 2 / 3
"""Share of turns that have a fresh block."""
_PARTS = ("front end", "cpu workers", "gpu workers", "redis", "driver")
_UTILISATION = 0.6
"""Planned utilisation of a core; below it, queues stay short."""
_NODE_BYTES = 24 * 2**30
"""Planned Redis data per node; half as much again must be free for rewriting the append-only
file."""
_NODE_CPU = 0.5
"""Planned utilisation of a Redis node's only command thread."""


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one request, by part, and its Redis traffic in bytes."""

    cpu: Mapping[str, float]
    commands: float
    bytes: float


@dataclass(frozen=True)
class Simulated:
    """The model's result for a closed loop: answers per second, median latency in seconds."""

    throughput: float
    median: float


class _Station:
    """Processes of one kind with one queue; busy ones share the machine's cores."""

    def __init__(self, processes: int) -> None:
        self.free = processes
        self.queue: deque[tuple[int, float]] = deque()


def simulate(
    cost: Cost,
    users: int,
    *,
    cores: int,
    processes: Mapping[str, int],
    requests: int = 4000,
    seed: int = 1,
) -> Simulated:
    """Simulate ``users`` in a closed loop for ``requests`` answers.

    A visit's work is exponentially distributed, because blocks differ in size and kind.
    """
    rng = random.Random(seed)
    stations = {part: _Station(processes[part]) for part in _PARTS}
    working: dict[int, tuple[str, float]] = {}
    ways: dict[int, deque[tuple[str, float]]] = {}
    started = dict.fromkeys(range(users), 0.0)
    now = 0.0
    latencies: list[float] = []

    def enter(user: int) -> None:
        part, work = ways[user].popleft()
        station = stations[part]
        if station.free:
            station.free -= 1
            working[user] = (part, work)
        else:
            station.queue.append((user, work))

    for user in range(users):
        ways[user] = _way(cost, rng)
        enter(user)
    while len(latencies) < requests:
        speed = min(1.0, cores / len(working))
        user = min(working, key=lambda u: working[u][1])
        part, least = working.pop(user)
        now += least / speed
        for other, (where, left) in working.items():
            working[other] = (where, left - least)
        station = stations[part]
        if station.queue:
            waiting, work = station.queue.popleft()
            working[waiting] = (part, work)
        else:
            station.free += 1
        if not ways[user]:
            latencies.append(now - started[user])
            started[user] = now
            ways[user] = _way(cost, rng)
        enter(user)
    return Simulated(requests / now, statistics.median(latencies[requests // 4 :]))


def _way(cost: Cost, rng: random.Random) -> deque[tuple[str, float]]:
    """Return one request's visits and their work in processor seconds."""
    fresh = rng.random() < FRESH_SHARE
    way = [("driver", 0.5), ("front end", 0.5), ("redis", 0.5)]
    pools = cost.cpu["cpu workers"] + cost.cpu["gpu workers"]
    if fresh and pools:
        to_cpu = rng.random() < cost.cpu["cpu workers"] / pools
        part = "cpu workers" if to_cpu else "gpu workers"
        share = cost.cpu[part] / pools
        way.append((part, 1 / (FRESH_SHARE * share)))
    way += [("redis", 0.5), ("front end", 0.5), ("driver", 0.5)]
    return deque(
        (part, rng.expovariate(1.0) * cost.cpu[part] * share)
        for part, share in way
        if cost.cpu[part]
    )


class Measured:
    """The parts of a benchmark's JSON that the model needs."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        self.run = run
        self._rows = {(row["scenario"], row["figure"]): row["values"] for row in run["rows"]}

    def median(self, scenario: str, figure: str) -> float | None:
        """Return the farm's median of a figure; None if it was not measured."""
        values = self._rows.get((scenario, figure), {}).get("farm")
        return statistics.median(values) if values else None

    def cost(self, scenario: str) -> Cost | None:
        """Return the cost of a scenario's request; None if it was not measured."""
        if self.median(scenario, "cpu ms/req") is None:
            return None
        cpu = {p: (self.median(scenario, f"{p} cpu ms/req") or 0.0) / 1e3 for p in _PARTS}
        ways = [self.median(scenario, f"redis KB {way}/req") or 0.0 for way in ("in", "out")]
        return Cost(cpu, self.median(scenario, "redis commands/req") or 0.0, sum(ways) * 1e3)


def check(measured: Measured, cores: int) -> list[Sequence[str]]:
    """Return a row for each measured closed loop, with the model's result beside it."""
    processes = {"front end": 1, "cpu workers": 2, "gpu workers": 1, "redis": 1, "driver": 1}
    rows: list[Sequence[str]] = [
        ("users", "req/s measured", "req/s model", "p50 ms measured", "p50 ms model")
    ]
    for users, name in CROWDS.items():
        scenario = GROWING if users == 8 else name
        cost = measured.cost(scenario)
        throughput, median = (measured.median(scenario, f) for f in ("req/s", "p50 ms"))
        if cost is None or throughput is None or median is None:
            continue
        said = simulate(cost, users, cores=cores, processes=processes)
        rows.append(
            (
                str(users),
                f"{throughput:.0f}",
                f"{said.throughput:.0f}",
                f"{median:.1f}",
                f"{said.median * 1e3:.1f}",
            )
        )
    return rows


def need(cost: Cost, users: int, seconds: float, user_bytes: float) -> dict[str, float]:
    """Return what ``users`` need if each sends a turn every ``seconds`` at the peak hour."""
    rate = users / seconds
    cores = {part: rate * cost.cpu[part] / _UTILISATION for part in _PARTS[:3]}
    return {
        "requests a second": rate,
        "front-end cores": cores["front end"],
        "cpu-pool cores": cores["cpu workers"],
        "gpu-pool cores (TextCrusher)": cores["gpu workers"],
        "Redis commands a second": rate * cost.commands,
        "Redis MB/s": rate * cost.bytes / 1e6,
        "Redis GB of users' state": users * user_bytes / 1e9,
        "Redis nodes by memory": users * user_bytes / _NODE_BYTES,
        "Redis nodes by processor": rate * cost.cpu["redis"] / _NODE_CPU,
    }


def main() -> None:
    """Print the model's inputs, its check, and the needs of several numbers of users."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="JSON of python -m loadtest.bench --json")
    parser.add_argument("--cores", type=int, default=2, help="cores of the measured machine")
    parser.add_argument("--users", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds between turns")
    parser.add_argument("--docs", type=Path, metavar="PAGE", help="write the tables there too")
    options = parser.parse_args()
    measured = Measured(json.loads(options.run.read_text()))
    cost = measured.cost(GROWING)
    if cost is None:
        parser.error(f"the run has no '{GROWING}' of the farm")
    memory = measured.run.get("memory") or {}
    wanted = [need(cost, n, options.seconds, memory.get("redis_user", 0.0)) for n in options.users]
    inputs: list[Sequence[str]] = [("one request of a growing session", "")]
    inputs += [(f"{part}, processor ms", f"{s * 1e3:.2f}") for part, s in cost.cpu.items()]
    inputs += [("Redis commands", f"{cost.commands:.0f}"), ("Redis KB", f"{cost.bytes / 1e3:.0f}")]
    sizes: list[Sequence[str]] = [("", *[f"{n:,} users" for n in options.users])]
    sizes += [(name, *[f"{one[name]:,.1f}" for one in wanted]) for name in wanted[0]]
    tables = (inputs, check(measured, options.cores), sizes)
    print("\n\n".join(map(aligned, tables)))
    if options.docs:
        run = measured.run
        origin = f"    {run['command']}\n\n{run['machine']}; {run['date']}.\n"
        fill(options.docs, "\n\n".join([origin, *map(markdown, tables)]))


if __name__ == "__main__":
    main()
