"""Measures this farm beside its peers, all on free ports of this machine, and judges it.

    python -m loadtest.bench            # about a quarter of an hour
    python -m loadtest.bench --quick    # two minutes, one repetition: to see that it works
    python -m loadtest.bench --docs docs/performance   # and write tables and plots there
    python -m loadtest.bench --part proxy              # only the proxy: two minutes

The peers are the original's design called inline (`loadtest/peers/inline.py`) and upstream's
`headroom proxy`, stateless and session-aware (`loadtest/peers/upstream.py`). A peer that does not
start is reported and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from loadtest.results import Results, aligned, table
from loadtest.scenarios import growth
from loadtest.target import Target

from . import charts, pages, proxied, proxied_page
from .memory import Memory, grow
from .savings import savings
from .servers import Servers, StartError
from .suite import FULL, QUICK, WORKERS, Size, note, play, say, scenarios
from .targets import verdicts
from .workers import SETTINGS, drained

_MEMO_MB = 16
"""HEADROOM_MEMO_BYTES of the farm whose memory is watched: small, to be full soon."""
_EXPECTED = (OSError, StartError, ValueError)


def main() -> None:
    """Read the command line, measure, judge, print."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short repetition of everything")
    parser.add_argument("--peers", default="inline,upstream", help="which peers, by comma")
    parser.add_argument("--only", default="", help="scenarios whose name holds this text")
    parser.add_argument("--part", choices=("all", "proxy"), default="all")
    parser.add_argument("--repetitions", type=int, help="instead of five")
    parser.add_argument("--seed", type=int, default=None, help="of the material; random if absent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there")
    parser.add_argument(
        "--docs", type=Path, metavar="DIR", help="write plots there and tables into DIR.md"
    )
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    if options.repetitions:
        size = replace(size, repetitions=options.repetitions)
    seed = secrets.randbelow(1 << 30) if options.seed is None else options.seed
    results = Results()
    saved: dict[str, dict[str, float]] = {}
    memory = None
    whole = options.part == "all"
    started = time.monotonic()
    if whole:
        with _servers() as servers:
            targets = _start(servers, options.peers.split(","), results)
            _warm(targets, results)
            if not options.only:
                saved = _savings(targets["farm"], size, seed, results)
            wanted = [s for s in scenarios(targets, size) if options.only in s.name]
            play(wanted, size, seed, results)
    if whole and not options.only:
        with _servers() as servers:
            _workers(servers, size, seed, results)
            memory = _memory(servers, size, seed, results)
    if not options.only:
        with _servers() as servers:
            proxied.measure(servers, size, seed, results)
    judged = verdicts(results, saved, memory, _MEMO_MB) if whole else []
    run = pages.Run(
        " ".join(["python -m loadtest.bench", *sys.argv[1:]]),
        seed,
        time.monotonic() - started,
        size.repetitions,
        results,
        judged,
        saved,
        memory,
        proxied_page.verdicts(results, size.streams),
    )
    _show(run)
    if options.json:
        options.json.write_text(run.as_json() + "\n")
    if options.docs:
        _publish(run, options.docs, whole)


@contextlib.contextmanager
def _servers() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="bench-") as home, Servers(Path(home)) as servers:
        yield servers


def _show(run: pages.Run) -> None:
    """Print a run."""
    print(f"seed {run.seed}, {run.repetitions} repetitions, {run.seconds:.0f} s: median (min-max)")
    print(table([row for row in run.results.rows.values() if not _is_of_a_turn(row.figure)]))
    print()
    print(aligned(pages.targets([*run.verdicts, *run.proxy])))
    for failure in run.results.failures:
        print(f"!!! NOT MEASURED: {failure}")


def _publish(run: pages.Run, folder: Path, whole: bool) -> None:
    """Write a run into the documentation; one of the proxy alone leaves the rest."""
    page = folder.with_suffix(".md")
    if whole:
        plots = charts.draw(run.results, run.memory, _MEMO_MB, folder)
        (folder / "results.json").write_text(run.as_json() + "\n")
        pages.publish(run, page, plots)
    if run.proxy:
        (folder / "proxy.json").write_text(run.as_json(proxied_page.SCENARIOS) + "\n")
        pages.fill(page, proxied_page.block(run), "bench-proxy")


def _is_of_a_turn(figure: str) -> bool:
    """Return whether a figure is a point of a plot, too many for the table."""
    return figure.startswith("turn ") and not figure.startswith("turn 60 p50")


def _start(servers: Servers, peers: list[str], results: Results) -> dict[str, Target]:
    """Start the farm and those of the peers that will."""
    found = {"farm": servers.farm("farm")}
    starts: dict[str, Callable[[], tuple[Target, ...]]] = {
        "inline": lambda: (servers.inline(),),
        "upstream": servers.upstream,
    }
    for name in peers:
        try:
            found |= {target.name: target for target in starts[name]()}
        except StartError as error:
            say(results, f"{name}: {error}")
    return found


def _warm(targets: dict[str, Target], results: Results) -> None:
    """Let every target meet each kind of content once: first uses load what later ones have."""
    for target in dict.fromkeys(targets.values()):
        try:
            growth(target, f"warm-{secrets.token_hex(4)}", (15,), seed=secrets.randbelow(1 << 30))
        except _EXPECTED as error:
            say(results, f"{target.name} did not take the warm-up: {error!r}")


def _savings(farm: Target, size: Size, seed: int, results: Results) -> dict[str, dict[str, float]]:
    started = time.monotonic()
    try:
        found = savings(farm, size.kinds, seed=seed, prefix=secrets.token_hex(4))
    except _EXPECTED as error:
        say(results, f"savings: {error!r}")
        return {}
    note("1/1", "savings by content type", "farm, headroom", started)
    return found


def _workers(servers: Servers, size: Size, seed: int, results: Results) -> None:
    try:
        farm = servers.farm("queue", cpu=0, settings=SETTINGS)
        for repetition in range(size.repetitions):
            turns = (("one", 1), ("two", 2))
            for name, count in reversed(turns) if repetition % 2 else turns:
                started = time.monotonic()
                own = seed + (2 * repetition + count) * 1000
                rate = drained(servers, farm, count, size.queued, own)
                results.add(WORKERS, name, {"jobs/s": rate})
                note(f"{repetition + 1}/{size.repetitions}", WORKERS, name, started)
    except _EXPECTED as error:
        say(results, f"{WORKERS}: {error}")


def _memory(servers: Servers, size: Size, seed: int, results: Results) -> Memory | None:
    started = time.monotonic()
    try:
        farm = servers.farm("memory", settings={"memo_bytes": str(_MEMO_MB << 20)})
        found = grow(farm, size.memory_users, seed=seed, prefix=secrets.token_hex(4))
    except _EXPECTED as error:
        say(results, f"memory: {error}")
        return None
    note("1/1", "memory of a front end", "farm", started)
    return found


if __name__ == "__main__":
    main()
