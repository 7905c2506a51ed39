"""The body of ``/stats/farm``: the state of both pools and the front end, for scaling decisions.

It is computed from the counters of ``/metrics``. While Redis is unavailable it shows the last
known state, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from shared.errors import Unavailable
from shared.histogram_buckets import BEYOND, ENGINE, REQUEST, quantile
from shared.settings import POOLS, Settings

from .metrics_of_processes import ProcessBoard
from .proxy_counters import proxy_report
from .reports import named
from .time_range import TimeRange
from .token_prices import Prices
from .usage_reader import Reader, Row

_QUANTILES = (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))


class FarmReport:
    """Reads the farm's state; keeps the last one for when Redis is unavailable."""

    def __init__(
        self, settings: Settings, reader: Reader, processes: ProcessBoard, prices: Prices
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._processes = processes
        self._prices = prices
        self._pools: dict[str, Any] = {}
        self._requests: dict[str, Any] = {}
        self._at: float | None = None

    async def read(self, window: TimeRange) -> dict[str, Any]:
        """Return the farm's state; requests are counted over ``window``, jobs over all time.

        ``at`` is the time at which the counters were read. They only grow, so a rate can be
        computed from two answers.
        """
        redis = "ok"
        try:
            total = (await self._reader.totals(window)).total
            now = time.time()
            pools = {name: await self._reader.pool(name) for name in POOLS}
        except Unavailable:
            redis = "unreachable"
        else:
            self._at = now
            self._requests = {"window": window.as_json(), **_requests(total)}
            self._pools = {name: self._pool(found) for name, found in pools.items()}
        figures = self._processes.read()
        at = datetime.fromtimestamp(self._at, UTC).isoformat() if self._at else None
        return {
            "at": at,
            "redis": redis,
            "pricing_db": {"state": self._prices.state, "age_seconds": self._prices.age},
            "ledger": {
                "backlog": figures.backlog,
                "dropped": figures.counters.get("dropped", 0),
            },
            "requests": self._requests or None,
            "pools": self._pools or None,
            "proxy": proxy_report(figures) if self._settings.proxies else None,
        }

    def _pool(self, found: dict[str, Any]) -> dict[str, Any]:
        counters = found["counters"]
        counts = [counters.get(f"engine:{bound}", 0) for bound in (*ENGINE, BEYOND)]
        return {
            "workers": found["alive"],
            "queue": {
                "depth": found["depth"],
                "blocks": found["blocks"],
                "max_blocks": self._settings.queue_max_blocks,
                "bytes": found["bytes"],
                "max_bytes": self._settings.queue_max_bytes,
                "oldest_seconds": round(found["oldest"], 3),
            },
            "jobs": named(counters, "jobs:"),
            "blocks": named(counters, "blocks:"),
            "engine": {
                "seconds_total": counters.get("engine_us", 0) / 1e6,
                **_latency(counts, ENGINE),
            },
            "batches": {
                "count": int(counters.get("batches", 0)),
                "rows": int(counters.get("rows", 0)),
                "tokens": int(counters.get("tokens", 0)),
                "queued_seconds": counters.get("wait_ms", 0) / 1e3,
                "inference_seconds": counters.get("inference_ms", 0) / 1e3,
            },
        }


def _requests(total: Row) -> dict[str, Any]:
    counts = [total.get(f"l:{bound}", 0) for bound in (*REQUEST, BEYOND)]
    hits, misses = total.get("hits", 0), total.get("misses", 0)
    looked_up = hits + misses
    return {
        "total": total.get("requests", 0),
        "errors": total.get("errors", 0),
        "degraded": named(total, "d:"),
        "refused": named(total, "err:"),
        "retrievals": total.get("retrievals", 0),
        "latency": _latency(counts, REQUEST),
        "cache": {
            "hits": hits,
            "misses": misses,
            "hit_pct": round(100 * hits / looked_up, 2) if looked_up else None,
        },
    }


def _latency(counts: Sequence[float], bounds: Sequence[float]) -> dict[str, Any]:
    """Return percentiles in milliseconds, and the counts they are computed from."""
    found = {name: quantile(q, counts, bounds) for name, q in _QUANTILES}
    return {
        **{name: None if s is None else round(s * 1000, 3) for name, s in found.items()},
        "buckets": [
            {"le": bound, "count": int(n)} for bound, n in zip((*bounds, None), counts, strict=True)
        ],
    }
