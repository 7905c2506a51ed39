"""Bills sessions in the middle of which something goes wrong, against the same ones undisturbed.

    python -m loadtest.bill.faults --generated

* ``idle``: the user is away for longer than the provider keeps a prefix, then goes on.
* ``flush``: all of the farm's Redis is gone.
* ``worker``: a cpu worker is killed while a turn waits for it.
* ``overload``: other users' conversations take all the room while a turn comes in.

Each happens before one turn, a third and two thirds into the session. Prints a table.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import redis

from loadtest.bench.servers import Servers
from loadtest.bench.workers import alive, seen, until
from loadtest.target import Target
from shared.settings import POOLS

from .gather import gather, parser_of
from .prompt_cache import bill_of
from .replay import changed_turns
from .systems import Compress, post

Body = dict[str, Any]
_AWAY_SECONDS = 400.0
"""Longer than a 5 minute mark keeps its prefix."""
_CROWD = 48
_CROWD_LINES = 4000


def nothing(farm: Target, send: Callable[[], Body]) -> Body:
    """Send the turn undisturbed."""
    return send()


def flushed(farm: Target, send: Callable[[], Body]) -> Body:
    """Empty the farm's Redis, then send the turn, once the workers have registered again.

    Before that a front end may see no workers, and then sends the turn's new text as it came.
    """
    with redis.Redis.from_url(farm.redis_url) as client:
        client.flushall()
        until(lambda: all(alive(client, pool) and seen(farm, pool) for pool in POOLS))
    return send()


def worker_killed(farm: Target, send: Callable[[], Body]) -> Body:
    """Kill the farm's cpu workers while the turn is under way; others take their place."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send)
        for process in psutil.Process(farm.pids[0]).children(recursive=True):
            # One that has ended and was not waited for yet has no command line.
            with suppress(psutil.NoSuchProcess):
                if {"worker", "cpu"} <= set(process.cmdline()):
                    process.kill()
        return answer.result()


def crowded(farm: Target, send: Callable[[], Body]) -> Body:
    """Send the turn among many first turns of others."""

    def other(number: int) -> bytes:
        lines = "\n".join(f"{n} {number} of a log that is new" for n in range(_CROWD_LINES))
        said = [{"role": "user", "content": "why?"}, {"role": "tool", "content": lines}]
        headers = {"x-maas-username": f"crowd-{number}-{id(send)}"}
        return post(farm.url, "/v1/compress", {"messages": said, "model": "claude-x"}, headers)

    with ThreadPoolExecutor(_CROWD) as pool:
        others = [pool.submit(other, number) for number in range(_CROWD)]
        answer = send()
        for one in others:
            one.result()
    return answer


FAULTS = {"undisturbed": nothing, "flush": flushed, "worker": worker_killed, "overload": crowded}


def replayed(farm: Target, name: str, bodies: Sequence[Body], fault: str) -> list[Body]:
    """Return what the provider is sent for a session with ``fault`` in two of its turns."""
    system = Compress("farm", farm.url, responses=True)
    system.begin(f"{name}-{fault}")
    hit = {len(bodies) // 3, 2 * len(bodies) // 3}
    sent = []
    for number, body in enumerate(bodies):
        happens = FAULTS[fault] if number in hit else nothing
        sent.append(happens(farm, lambda body=body: system.turn(body)))  # type: ignore[misc]
    return sent


def row(farm: Target, name: str, bodies: Sequence[Body]) -> str:
    """Return a session's row: the bill's change against none, and turns that changed."""
    model = str(bodies[0]["model"])
    away = [0.0 if n < len(bodies) // 2 else _AWAY_SECONDS for n in range(len(bodies))]
    plain, cold = bill_of(bodies, model).cost, bill_of(bodies, model, away).cost
    cells = []
    for fault in FAULTS:
        sent = replayed(farm, name, bodies, fault)
        change = 100 * (bill_of(sent, model).cost / plain - 1)
        cells.append(f"{change:+.1f} % ({changed_turns(sent)})")
        if fault == "undisturbed":
            cells.append(f"{100 * (bill_of(sent, model, away).cost / cold - 1):+.1f} %")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> int:
    """Measure and print."""
    parser = parser_of("python -m loadtest.bill.faults", __doc__)
    sessions, _ = gather(parser.parse_args())
    with tempfile.TemporaryDirectory(prefix="bill-") as folder, Servers(Path(folder)) as servers:
        farm = servers.farm("farm", cpu=1)
        print("| session | undisturbed | idle | flush | worker | overload |")
        print("|---|---|---|---|---|---|")
        for name, bodies in sessions.items():
            print(row(farm, name, json.loads(json.dumps(bodies))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
