"""``python -m loadtest.books``: times the usage reports with a million recorded requests.

Fills an empty Redis through the ledger itself, over a year, 1000 users and 20 models, then
queries a front end. A request is recorded before each query, so that changed buckets are read
again, as under traffic. This process and the front end must use the same ``HEADROOM_REDIS_URL``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from decimal import Decimal

import msgspec

from api.accounting.ledger import Ledger
from api.accounting.token_prices import Price
from api.accounting.usage_record import AnsweredRequest, UsageRecord, answered
from api.accounting.write_ahead_log import Line
from api.pipeline.compression_result import CompressionResult
from shared.redis_connection import BROKEN
from shared.settings import load_settings

from .http import Connection

_BATCH = 200
_YEAR = 365 * 86_400
_PATHS = (
    "/stats",
    "/stats?range=day",
    "/stats?range=month",
    "/stats?range=month&user=user-7",
    "/stats/insights",
    "/stats/insights?range=month",
    "/stats/insights?range=month&user=user-7",
    "/stats-history",
    "/stats-history?range=month",
    "/sessions",
    "/pricing",
    "/metrics",
)


def _entry(chance: random.Random, number: int, at: float) -> UsageRecord:
    before = chance.randrange(500, 150_000)
    saved = chance.choice((0, before // 3, before // 2))
    engines = dict.fromkeys(("log", "diff", "smart_crusher", "text"), (1, saved))
    answer = CompressionResult(
        pieces=[],
        messages=9,
        changed=4,
        tokens_before=before,
        tokens_after=before - saved,
        transforms=[f"router:tool_result:{name}" for name in engines],
        hashes=[],
        model=f"model-{chance.randrange(20)}",
        degraded=[],
        cache_hits=8,
        cache_misses=1,
        reason="" if saved else "no_gain",
        engines=engines,
    )
    request = AnsweredRequest(f"r{number}", f"user-{chance.randrange(1000)}", chance.random() / 10)
    entry = answered(request, answer, Price(Decimal("3.0000"), False))
    return msgspec.structs.replace(entry, at=at, answer="")


async def _send(ledger: Ledger, writer: str, lines: list[Line]) -> None:
    """Write lines, repeatedly if Redis is too slow; it ignores those that it has."""
    while True:
        try:
            await ledger.send(writer, lines)
            return
        except BROKEN as error:
            print(f"again, after {type(error).__name__}", flush=True)


async def fill(ledger: Ledger, count: int) -> None:
    """Record ``count`` requests, in order of time, with an increasing number per day."""
    chance, now = random.Random(1), time.time()
    started = time.monotonic()
    for start in range(0, count, _BATCH):
        lines = [
            Line(n, _entry(chance, n, now - _YEAR * (1 - (n / count) ** 0.5)))
            for n in range(start + 1, min(start + _BATCH, count) + 1)
        ]
        await _send(ledger, "filler", lines)
    spent = time.monotonic() - started
    print(f"{count} requests written in {spent:.0f} s ({count / spent:.0f} a second)", flush=True)


async def ask(ledger: Ledger, url: str, times: int) -> None:
    """Print p50 and p95 of each endpoint, and its first answer separately."""
    connection = Connection(url)
    chance, writer, number = random.Random(2), f"asker-{time.time()}", 0
    print("| endpoint | first ms | p50 ms | p95 ms | KB |\n|---|---|---|---|---|")
    for path in _PATHS:
        spent = []
        for _ in range(times + 1):
            number += 1
            await _send(ledger, writer, [Line(number, _entry(chance, number, time.time()))])
            started = time.perf_counter()
            body = connection.exchange([f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()])
            spent.append((time.perf_counter() - started) * 1000)
        first, rest = spent[0], sorted(spent[1:])
        p50, p95 = rest[len(rest) // 2], rest[int(len(rest) * 0.95)]
        print(f"| `{path}` | {first:.1f} | {p50:.1f} | {p95:.1f} | {len(body) / 1024:.0f} |")


async def _run(url: str, count: int, times: int) -> None:
    ledger = Ledger(load_settings())
    if count:
        await fill(ledger, count)
    await ask(ledger, url, times)


def main() -> None:
    """Read the options; fill, ask, or both."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.books", description=__doc__)
    parser.add_argument("url", help="the front end")
    parser.add_argument("--fill", type=int, default=0, metavar="N")
    parser.add_argument("--times", type=int, default=100)
    options = parser.parse_args()
    asyncio.run(_run(options.url, options.fill, options.times))


if __name__ == "__main__":
    main()
