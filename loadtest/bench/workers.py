"""How fast one cpu worker, and two, empty a queue."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import redis

from loadtest.http import Connection
from loadtest.scenarios import LIGHT_KINDS, Conversation, single_blocks
from loadtest.target import Target
from shared import clock, keys

from .servers import Servers, StartError

SETTINGS = {
    "queue_max_blocks": "100000",
    "queue_max_bytes": str(2**30),
    "deadline_ms": "60000",
    "api_processes": "1",
}
"""Of the farm whose queue is filled before anybody works: nothing there is too long a wait."""
_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.02


def drained(servers: Servers, farm: Target, workers: int, blocks: int, seed: int) -> float:
    """Queue ``blocks`` without any worker, start ``workers``, return their jobs per second.

    The clock starts when all of them are ready, so that their start does not count.

    Raises:
        StartError: they did not come, or did not finish.
    """
    until(lambda: not seen(farm, "cpu"))
    with Connection(farm.url) as connection:
        for at, messages in enumerate(single_blocks(seed, blocks, LIGHT_KINDS)):
            Conversation(messages).post(connection, f"w{seed}-{at}", len(messages))
    client = redis.Redis.from_url(farm.redis_url)
    started = [servers.worker(farm, "cpu") for _ in range(workers)]
    try:
        until(lambda: alive(client, "cpu") == workers)
        before, clock = _done(client), time.perf_counter()
        left: int = client.llen(keys.queue("cpu"))
        if left < blocks // 4:
            raise StartError(
                f"only {left} of {blocks} blocks were left when all workers were there"
            )
        until(lambda: not client.exists(keys.queue("cpu"), keys.taken("cpu")))
        return (_done(client) - before) / (time.perf_counter() - clock)
    finally:
        for worker in started:
            worker.stop()
        client.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition()``.

    Raises:
        StartError: it takes too long.
    """
    give_up = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise StartError("the workers did not come or did not finish")
        time.sleep(_POLL_SECONDS)


def seen(farm: Target, pool: str) -> int:
    """Return how many workers of a pool the front end believes in: it waits for those there are."""
    try:
        answer = urllib.request.urlopen(f"{farm.url}/readyz", timeout=5)
    except urllib.error.HTTPError as not_ready:  # it says why in the same form
        answer = not_ready
    with answer:
        found: int = json.load(answer)["checks"][f"{pool}_workers"]
        return found


def alive(client: redis.Redis, pool: str) -> int:
    """Return how many workers of a pool have registered in Redis, and not too long ago."""
    oldest = clock.seconds(client.time()) - keys.WORKER_TTL_SECONDS
    found: int = client.zcount(keys.workers(pool), oldest, "+inf")
    return found


def _done(client: redis.Redis) -> int:
    return int(client.hget(keys.metrics("cpu"), "jobs:done") or 0)
