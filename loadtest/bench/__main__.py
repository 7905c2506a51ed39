"""Measures this farm beside its peers, all on free ports of this machine, and judges it.

    python -m loadtest.bench            # about a quarter of an hour
    python -m loadtest.bench --quick    # two minutes, one repetition: to see that it works

The peers are the original's design called inline (`loadtest/peers/inline.py`) and upstream's
`headroom proxy`, stateless and session-aware (`loadtest/peers/upstream.py`). One that does not
start is said and left out.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from loadtest.results import Results, table
from loadtest.target import Target

from .servers import Servers, StartError
from .suite import FULL, QUICK, play, say, scenarios


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short repetition of everything")
    parser.add_argument("--peers", default="inline,upstream", help="which peers, by comma")
    parser.add_argument("--only", default="", help="scenarios whose name holds this text")
    parser.add_argument("--seed", type=int, default=None, help="of the material; random if absent")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    seed = secrets.randbelow(1 << 30) if options.seed is None else options.seed
    results = Results()
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Servers(Path(directory)) as all_,
    ):
        targets = _start(all_, options.peers.split(","), results)
        found = [s for s in scenarios(targets, size) if options.only in s.name]
        play(found, size, seed, results)
    print(f"seed {seed}, {size.repetitions} repetitions: median (min-max)")
    print(table([row for row in results.rows.values() if not row.figure.startswith("turn ")]))
    print(f"{time.monotonic() - started:.0f} s")


def _start(servers: Servers, peers: list[str], results: Results) -> dict[str, Target]:
    """Start the farm and those of the peers that will."""
    found = {"farm": servers.farm()}
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


if __name__ == "__main__":
    main()
