"""The proxy beside a direct call and upstream's proxy: first byte, open streams, same bytes."""

from __future__ import annotations

import hashlib
import http.client
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvloop

from loadtest.first_byte import FRESH, KINDS, MODEL, Client, body_of, brings_block, play
from loadtest.open_streams import watch
from loadtest.results import Results
from loadtest.sessions import MESSAGES_PER_TURN, growing
from loadtest.stand_in import PLAY, own_process, text
from loadtest.target import Process, Target, family, resident_of

from .servers import Servers, StartError
from .suite import Size, note, say

DIRECT, UPSTREAM, FARM, ENGINE = "direct", "upstream's proxy", "farm", "engines"
FIRST = {kind: f"first byte, {kind}" for kind in KINDS}
OPEN = "open streams at once"
SAME = "streams without retrieval"
_WARM_TURNS = 6
_PIECES, _PAUSE_MS = 40, 100
_LENGTHS = (1, 20, 400)
_MIB = 2**20
_EXPECTED = (OSError, StartError, ValueError, http.client.HTTPException)


def measure(servers: Servers, size: Size, seed: int, results: Results) -> None:
    """Measure all of it into ``results``."""
    with own_process() as provider:
        try:
            farm = servers.farm("proxy", settings={"anthropic_target_api_url": provider})
        except StartError as error:
            say(results, f"the proxy: {error}")
            return
        urls = {DIRECT: provider, FARM: farm.url}
        try:
            urls[UPSTREAM] = servers.proxy("cache", provider).url
        except StartError as error:
            say(results, f"upstream's proxy: {error}")
        _warm(urls, seed + size.repetitions)
        for repetition in range(size.repetitions):
            own = seed + repetition
            parts: dict[str, Callable[[], None]] = {
                "first byte": lambda own=own: _first_byte(urls, size, own, results),  # type: ignore[misc]
                OPEN: lambda: _open(provider, farm, size, results),
                SAME: lambda own=own: _same(provider, farm, own, results),  # type: ignore[misc]
            }
            for name, part in parts.items():
                started = time.monotonic()
                try:
                    part()
                except _EXPECTED as error:
                    say(results, f"{name}: {error!r}")
                    continue
                note(f"{repetition + 1}/{size.repetitions}", name, ", ".join(urls), started)


def _warm(urls: Mapping[str, str], seed: int) -> None:
    """Let all sides meet a session once: first uses load what later ones have."""
    from loadtest.peers.inline import compress  # it brings headroom, which takes a second

    turns = [messages for _, messages in growing(seed, _WARM_TURNS)]
    play(urls, turns)
    for messages in turns:
        compress(messages, model=MODEL)


def _first_byte(urls: Mapping[str, str], size: Size, seed: int, results: Results) -> None:
    from loadtest.peers.inline import compress

    turns = [messages for _, messages in growing(seed, size.proxied_turns)]
    clients = play(urls, turns)
    engines = {}
    for number in clients[FARM].times[FRESH]:
        block = [*turns[number][-MESSAGES_PER_TURN:], {"role": "user", "content": "Go on."}]
        started = time.perf_counter()
        compress(block, model=MODEL)
        engines[number] = time.perf_counter() - started
    for kind in KINDS:
        direct = clients[DIRECT].times[kind]
        for name, client in clients.items():
            results.add(FIRST[kind], name, _figures(client, kind, direct))
    results.add(FIRST[FRESH], ENGINE, {"p50 ms": 1e3 * statistics.median(engines.values())})
    found = clients[FARM].times[FRESH]
    more = [found[n] - clients[DIRECT].times[FRESH][n] - engines[n] for n in found]
    results.add(
        FIRST[FRESH], FARM, {"over direct and engines p50 ms": 1e3 * statistics.median(more)}
    )


def _figures(client: Client, kind: str, direct: Mapping[int, float]) -> dict[str, float]:
    """Return a target's figures; the differences are those of the same turn."""
    times = client.times[kind]
    more = [seconds - direct[turn] for turn, seconds in times.items()]
    return {
        "p50 ms": 1e3 * statistics.median(times.values()),
        "p95 ms": 1e3 * _p95(list(times.values())),
        "over direct p50 ms": 1e3 * statistics.median(more),
    }


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def _open(provider: str, farm: Target, size: Size, results: Results) -> None:
    """Hold streams open on the farm's one front end, and directly."""
    front_end = front_end_of(farm)
    used, held = front_end.cpu, [resident_of(front_end.pid)]
    for name, url, look in (
        (DIRECT, provider, lambda: None),
        (FARM, farm.url, lambda: held.append(resident_of(front_end.pid))),
    ):
        seen = uvloop.run(watch(url, size.streams, _PIECES, _PAUSE_MS, look))
        results.add(
            OPEN,
            name,
            {
                "whole": seen.whole,
                "a piece's delay p50 ms": 1e3 * statistics.median(seen.delays),
                "a piece's delay p95 ms": 1e3 * _p95(seen.delays),
                "between pieces p50 ms": 1e3 * statistics.median(seen.gaps),
                "between pieces p95 ms": 1e3 * _p95(seen.gaps),
            },
        )
    held.append(resident_of(front_end.pid))
    names = ("MiB before", "MiB open", "MiB after")
    results.add(OPEN, FARM, {n: h / _MIB for n, h in zip(names, held, strict=True)})
    used = front_end_of(farm).cpu - used
    results.add(OPEN, FARM, {"front end's cpu us/piece": 1e6 * used / size.streams / _PIECES})


def front_end_of(farm: Target) -> Process:
    """Return the farm's one front end; its master comes before it."""
    return [process for process in family(farm.pids) if process.part == "front end"][-1]


def _same(provider: str, farm: Target, seed: int, results: Results) -> None:
    """Compare streams byte by byte: with and without markers in the request."""
    requests = [[{"role": "user", "content": "Hello."}]]
    turns = [messages for _, messages in growing(seed, 4)]
    requests += [messages for messages in turns if brings_block(messages)]
    same = asked = 0
    for messages in requests:
        for length in _LENGTHS:
            answers = [_whole(url, messages, length) for url in (provider, farm.url)]
            asked += 1
            same += answers[0] == answers[1] == hashlib.sha256(text(length)).hexdigest()
    results.add(SAME, FARM, {"the same": same, "of": asked})


def _whole(url: str, messages: Any, length: int) -> str:
    """Return the digest of a whole answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {"content-type": "application/json", "x-api-key": "same", PLAY: f"text {length}"}
    try:
        connection.request("POST", "/v1/messages", body_of(messages), headers)
        return hashlib.sha256(connection.getresponse().read()).hexdigest()
    finally:
        connection.close()
