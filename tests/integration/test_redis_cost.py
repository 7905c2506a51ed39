"""Cost of requests in Redis: few commands each, and sums that stay exact at any size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from loadtest.target import Target, spent
from shared import keys

from ..farm import Farm, request, until, user
from ..texts import conversation, events, ran, rows

REQUESTS = 60
COMMANDS = 30
"""Maximum commands for a request of cached blocks, including those in scripts (an RQ job: 60).

Measured: 29.1. Periodic commands are subtracted.
"""
_RARELY_WRITES_SESSIONS = """
from api.runtime import session_stats
session_stats._EVERY_SECONDS = 3600.0
"""
"""Keeps session statistics out of the count: they are written once per 0.25 s, so the number of
requests that share a write depends on the speed of the machine."""


def _idle(target: Target, seconds: float) -> int:
    """Return the number of periodic commands of the front end in ``seconds``."""
    before, end = spent(target), time.monotonic() + seconds
    until("as long without a request", lambda: time.monotonic() >= end)
    return spent(target).since(before).traffic.commands


def test_cached_request_costs_few_redis_commands(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(worker_heartbeat_seconds=1)
    farm.start_redis()
    farm.start_worker("cpu")
    farm.start_api(_RARELY_WRITES_SESSIONS)
    farm.until_ready(gpu=0)
    target = Target("farm", farm.url, redis_url=farm.redis_url)
    name = user()
    body = conversation(*[ran(events(f"{name}{i}"), f"c{i}") for i in range(8)])
    assert farm.post(body, name).json["tokens_saved"] > 0
    # The worker's heartbeats must not be counted, and cached blocks need no worker.
    next(p for p in farm.parts if "worker" in p.log.name).stop()
    for again in ("the same front end", "one that never saw the user"):
        if again != "the same front end":
            farm.parts[-1].stop()
            farm.start_api(_RARELY_WRITES_SESSIONS)
            assert farm.post(body, name).json["tokens_saved"] > 0
        before, since = spent(target), time.monotonic()
        answers = [farm.post(body, name).json for _ in range(REQUESTS)]
        request(farm.url, "GET", "/stats")  # waits for the ledger
        used = spent(target).since(before).traffic
        of_requests = used.commands - _idle(target, time.monotonic() - since)
        assert all(a["tokens_saved"] > 0 and not a["degraded"] for a in answers)
        each = of_requests / REQUESTS
        assert each <= COMMANDS, f"{each:.1f} by {again}"
        # Neither the blocks nor their forms are sent again.
        assert used.bytes_in / REQUESTS < len(events()) / 4, again
    # Both rounds overflow the ring of recent requests: it is trimmed at times, and shown in full.
    shown = request(farm.url, "GET", "/stats").json["recent_requests"]
    assert 100 <= farm.redis.llen(keys.books("recent")) <= 110
    assert len(shown) == 100
    kept = farm.redis.lindex(keys.books("recent"), -1)
    assert shown[-1] == json.loads(kept)


def test_usage_sums_are_exact_beyond_a_double(
    own_farm: Callable[..., Farm],
) -> None:
    farm = own_farm(cost_per_mtok="999999.9999").start(gpu=0)
    answers = [
        farm.post(conversation(ran(rows(f"{n}", 400))), "ada", x_request_id=f"r{n}").json
        for n in range(3)
    ]
    price = 9_999_999_999  # units of 1e-10 USD a token
    cost = sum(a["tokens_saved"] for a in answers) * price
    life = keys.books("life")

    def held(field: str) -> int:
        request(farm.url, "GET", "/stats")  # waits for the ledger
        return int(farm.redis.hget(life, f"t\x1f{field}") or 0)

    assert held("list") == cost
    # The state after a very long time: totals near the limit of 64 bits.
    large: dict[str, Any] = {"t\x1flist": 2**62 + 1, "t\x1fbefore": 10**15 - 1}
    farm.redis.hset(life, mapping=large)
    before = held("before")
    answer = farm.post(conversation(ran(rows("more", 400))), "ada", x_request_id="large").json
    assert held("list") == 2**62 + 1 + answer["tokens_saved"] * price
    assert held("before") == before + answer["tokens_before"]
    # Repeating the request subtracts the first answer's amounts, exactly as well.
    farm.post(conversation(ran(rows("more", 400))), "ada", x_request_id="large")
    assert held("list") == 2**62 + 1 + answer["tokens_saved"] * price
