"""Opens thousands of hostile streams on one front end, and looks for what they leave behind.

``python -P -m loadtest.hostile_streams`` opens 10 000 in waves before a stand-in provider: answers
that break off, are half an event, garbage or an error; clients that leave before the head or in
mid-stream, do not read, or send half a request. Afterwards the front end's open streams,
connections, asyncio tasks and resident memory are compared with those before. Ends with status 1
if anything is left.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvloop

from .bench.proxied import front_end_of
from .bench.servers import Servers
from .first_byte import body_of
from .stand_in import PLAY, own_process
from .target import resident_of

_WAVE = 250
_PARTS = 4
"""Between which it is printed what is held: memory that leaks grows in each."""
_READ_SECONDS = 30.0
_SETTLE_SECONDS = 90.0
_SPARE = 8
"""Files or tasks that a front end at rest may have more or fewer: a probe under way, a pool."""
_SPARE_MIB = 32
KINDS = (
    ("read", "cut"),
    ("read", "half"),
    ("read", "noise"),
    ("read", "noise-events"),
    ("read", "broken"),
    ("read", "refuse 500"),
    ("leave", "text 400 20"),
    ("leave", "stall"),
    ("leave", "silent"),
    ("deaf", "huge 2"),
    ("half", "text"),
)
"""What the client does, and what the provider plays."""


@dataclass(frozen=True)
class Held:
    """What a front end holds: open streams, clients' connections, files of all kinds, tasks, MiB.

    Kept connections to the provider are among the files. Those to Redis, of which a front end keeps
    as many as it ever used at once, are counted by themselves and not compared.
    """

    streams: int
    clients: int
    files: int
    tasks: int
    mib: float
    redis: int

    def left(self, before: Held) -> list[str]:
        """Return what is left of what came after ``before``."""
        spare = {"streams": 0, "clients": 1, "files": _SPARE, "tasks": _SPARE, "mib": _SPARE_MIB}
        now, then = asdict(self), asdict(before)
        return [
            f"{then[name]} -> {now[name]} {name}"
            for name, most in spare.items()
            if now[name] > then[name] + most
        ]


def held(url: str, pid: int, redis_url: str = "") -> Held:
    """Return what the front end ``pid``, the only one at ``url``, holds."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = {
        name: int(float(value))
        for name, value in re.findall(
            r"^headroom_(proxy_open_streams|event_loop_tasks) (\S+)", text, re.M
        )
    }
    connected = [c for c in psutil.Process(pid).net_connections("tcp") if c.raddr]
    clients = sum(c.laddr[1] == urlsplit(url).port for c in connected)
    redis = sum(c.raddr[1] == urlsplit(redis_url).port for c in connected)
    files = len(os.listdir(f"/proc/{pid}/fd")) - redis
    mib = round(resident_of(pid) / 2**20, 1)
    return Held(found["proxy_open_streams"], clients, files, found["event_loop_tasks"], mib, redis)


def _settled(look: Callable[[], Held], before: Held) -> Held:
    """Return what is held once nothing of the streams is, or when time is up."""
    give_up = time.monotonic() + _SETTLE_SECONDS
    while (now := look()).left(before) and time.monotonic() < give_up:
        time.sleep(0.5)
    return now


def play(url: str, streams: int, seed: int) -> None:
    """Open hostile streams, a wave at a time."""
    rng = random.Random(seed)
    small = body_of([{"role": "user", "content": "Hello."}])
    bodies = (small, small, body_of(_with_tool_output(rng)))

    async def waves() -> None:
        kinds = itertools.islice(itertools.cycle(KINDS), streams)
        while wave := list(itertools.islice(kinds, _WAVE)):
            asked = [_one(url, *kind, rng.choice(bodies), rng) for kind in wave]
            await asyncio.gather(*asked)

    uvloop.run(waves())


def _with_tool_output(rng: random.Random) -> list[dict[str, Any]]:
    """Return a conversation with a log that the farm compresses."""
    lines = [
        f"2026-01-01 10:{n // 60:02d}:{n % 60:02d} {rng.choice(('INFO', 'INFO', 'ERROR'))} job "
        f"{rng.getrandbits(40):x} took {rng.randrange(900)} ms"
        for n in range(200)
    ]
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "make"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "\n".join(lines)}
    return [
        {"role": "user", "content": "Run it."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": "It ran."},
        {"role": "user", "content": "Which failed?"},
    ]


async def _one(url: str, client: str, provider: str, body: bytes, rng: random.Random) -> None:
    parts = urlsplit(url)
    with suppress(ConnectionError, TimeoutError):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
        try:
            head = (
                f"POST /v1/messages HTTP/1.1\r\nhost: farm\r\nconnection: close\r\n"
                f"content-type: application/json\r\nx-maas-username: hostile\r\n"
                f"{PLAY}: {provider}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + (body[: len(body) // 2] if client == "half" else body))
            async with asyncio.timeout(_READ_SECONDS):
                if client == "read":
                    while await reader.read(4096):
                        pass
                else:  # "deaf": the reader's small buffer is full, and the socket's after it
                    await asyncio.sleep(rng.uniform(0, 0.5))
        finally:
            writer.transport.abort()


def _show(streams: int | str, what: Held) -> None:
    print(json.dumps({"after streams": streams, **asdict(what)}), flush=True)


def main() -> None:
    """Start both, play, print what was held before and after."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.hostile_streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        own_process() as provider,
        tempfile.TemporaryDirectory() as folder,
        Servers(Path(folder)) as servers,
    ):
        farm = servers.farm("farm", settings={"anthropic_target_api_url": provider})
        pid = front_end_of(farm).pid

        def look() -> Held:
            return held(farm.url, pid, farm.redis_url)

        rest = look()
        play(farm.url, _WAVE, options.seed)  # first uses load what later ones have
        before = _settled(look, rest)
        started = time.monotonic()
        _show(0, before)
        for part in range(1, _PARTS + 1):
            play(farm.url, options.streams // _PARTS, options.seed + part)
            _show(part * options.streams // _PARTS, look())
        seconds = time.monotonic() - started
        after = _settled(look, before)
        _show("some seconds later", after)
    left = after.left(before)
    print(json.dumps({"streams": options.streams, "seconds": round(seconds, 1), "left": left}))
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
