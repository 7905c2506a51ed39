"""The metrics and labels that ``/metrics`` exposes, without a running farm."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

from prometheus_client.parser import text_string_to_metric_families

from api.accounting.prometheus import Metrics
from api.accounting.proxy_counters import ProxyCounters
from api.accounting.usage_reader import Rows
from api.runtime.policy_reload import PolicySource
from shared.circuit_breaker import Reading
from shared.jobs import EngineStatus
from shared.settings import Settings


class _Reader:
    """A ledger with one of everything, instead of Redis."""

    async def totals(self, window: Any) -> Rows:
        names = ("requests", "d:redis", "n:bypass", "err:internal", "e:log:saved", "l:0.001")
        return Rows(total=dict.fromkeys(names, 1))

    async def pool(self, pool: str) -> dict[str, Any]:
        counters = {"jobs:done": 1.0, "blocks:compressed": 1.0, "task_failures:reaper": 1.0}
        counters["unfaithful:log:made up"] = 1.0
        return {"depth": 0, "oldest": 0.0, "alive": 1, "counters": counters}


class _Ledger:
    backlog = dropped = 0


class _Prices:
    stale_seconds = 1.0
    ignored = 0


class _Switch:
    bypass = None


class _Place:
    name = "redis"
    readings = (Reading("redis", "", "open", "timeout"),)
    trips: ClassVar[dict[str, int]] = {"timeout": 1}


class _Pools:
    text_engines: ClassVar = Counter({EngineStatus("kompress", "cpu", "graph", "a reason"): 2})

    def bytes_in(self, pool: str, seconds: float) -> int:
        return 1


def _proxied() -> ProxyCounters:
    counters = ProxyCounters()
    counters.answered("anthropic", 200, 0.001, 0.5)
    counters.failed("openai", "upstream_cut")
    counters.retrieved("served")
    return counters


def metrics(prices: Any = None) -> Metrics:
    """Return a front end's metrics, with one of everything."""
    parts: Any = (
        _Reader(),
        _Ledger(),
        prices or _Prices(),
        _Pools(),
        [_Place()],
        _Switch(),
        PolicySource(Settings()),
        _proxied(),
    )
    return Metrics(Settings(), *parts)


def exposed_by_front_end() -> set[str]:
    """Return the names of a front end's own metrics."""

    async def names() -> set[str]:
        suffixes = {"counter": "_total", "histogram": "_bucket"}
        return {f.name + suffixes.get(f.type, "") for f in metrics()._process()}

    return asyncio.run(names())


def exposed(prices: Any = None) -> dict[str, set[str]]:
    """Return the labels of every sample that the farm exposes, by name."""
    text = asyncio.run(metrics(prices).text()).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
