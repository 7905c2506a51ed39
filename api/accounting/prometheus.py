"""``/metrics``: Prometheus text, made of the ledger and the pools' counters in Redis.

The counters are the farm's, not this process's, so every front end reports the same and
a restart loses nothing. With several front ends scraped, take ``max``, not ``sum``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from shared.breaker import State
from shared.buckets import BEYOND, ENGINE, REQUEST
from shared.errors import Unavailable
from shared.settings import POOLS, Settings

from ..runtime.bypass import BypassSwitch
from ..runtime.redis_guard import RedisGuard
from ..runtime.tasks import health
from ..runtime.worker_view import WorkerView
from .ledger import Ledger
from .pricing import Prices
from .reader import Reader, Row
from .time_range import TimeRange

_PLAIN = (
    ("headroom_requests", "requests", "Requests answered with a conversation"),
    ("headroom_compressed", "compressed", "Requests that came out smaller"),
    ("headroom_tokens_before", "before", "Tokens of the conversations as they came"),
    ("headroom_tokens_after", "after", "Tokens of the conversations as they left"),
    ("headroom_tokens_saved", "saved", "Tokens removed"),
    ("headroom_errors", "errors", "Requests answered with an error or left as they came by one"),
    ("headroom_cache_hits", "hits", "Blocks whose form was known"),
    ("headroom_cache_misses", "misses", "Blocks whose form was not known"),
    ("headroom_retrievals", "retrievals", "Originals had back"),
    (
        "headroom_ledger_clock_corrected",
        "corrected",
        "Entries booked by Redis's clock, because their host's was off",
    ),
)
_BATCHES = (
    ("headroom_batches", "batches", 1, "Batches the text engine scored"),
    ("headroom_batch_rows", "rows", 1, "Rows in them"),
    ("headroom_batch_tokens", "tokens", 1, "Tokens in them, without padding"),
    ("headroom_batch_wait_seconds", "wait_ms", 1e-3, "Time jobs spent in the queue, together"),
    ("headroom_inference_seconds", "inference_ms", 1e-3, "Time the model took"),
)
_STATES: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
_LABELLED = (
    ("headroom_degraded", "d:", "reason", "Answers that left text as it came, by reason"),
    ("headroom_uncompressed", "n:", "reason", "Requests that saved nothing, by reason"),
    ("headroom_refused", "err:", "type", "Requests answered with an error, by its type"),
)


class Metrics:
    """Reads what is to be told and tells it; keeps the last ledger for when Redis is away."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        ledger: Ledger,
        prices: Prices,
        pools: WorkerView,
        places: Sequence[RedisGuard],
        switch: BypassSwitch,
    ) -> None:
        self._switch = switch
        self._workers = pools
        self._prices = prices
        self._places = places
        self._journal = settings.data_dir / "ledger"
        self._reader = reader
        self._ledger = ledger
        self._started = time.monotonic()
        self._total: Row = {}
        self._pools: dict[str, dict[str, Any]] = {}

    async def text(self) -> bytes:
        """Return the exposition text."""
        up = 1
        try:
            self._total = (await self._reader.totals(TimeRange())).total
            self._pools = {pool: await self._reader.pool(pool) for pool in POOLS}
        except Unavailable:
            up = 0
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families([*self._ledger_families(), *self._process(up), *self._farm()]))
        return generate_latest(registry)

    def _ledger_families(self) -> Iterator[Metric]:
        if not self._total and not self._pools:
            return
        total = self._total
        for name, field, text in _PLAIN:
            yield CounterMetricFamily(name, text, value=total.get(field, 0))
        for name, prefix, label, text in _LABELLED:
            family = CounterMetricFamily(name, text, labels=[label])
            for field, amount in sorted(total.items()):
                if field.startswith(prefix):
                    family.add_metric([field[len(prefix) :]], amount)
            yield family
        engines = CounterMetricFamily(
            "headroom_engine_tokens_saved", "Tokens removed, by engine", labels=["engine"]
        )
        for field, amount in sorted(total.items()):
            if field.startswith("e:") and field.endswith(":saved"):
                engines.add_metric([field[2 : -len(":saved")]], amount)
        yield engines
        latency = HistogramMetricFamily("headroom_request_seconds", "Time to an answer")
        counts = [total.get(f"l:{bound}", 0) for bound in (*REQUEST, BEYOND)]
        latency.add_metric([], _cumulative(REQUEST, counts), total.get("latency_us", 0) / 1e6)
        yield latency

    def _process(self, up: int) -> Iterator[Metric]:
        yield GaugeMetricFamily("headroom_redis_up", "Whether Redis answered this scrape", up)
        yield GaugeMetricFamily(
            "headroom_bypass",
            "Whether this front end lets everything through for the emergency switch",
            int(self._switch.bypass is not None),
        )
        yield GaugeMetricFamily(
            "headroom_uptime_seconds",
            "Time since this front end started",
            time.monotonic() - self._started,
        )
        yield GaugeMetricFamily(
            "headroom_ledger_backlog_entries",
            "Entries of this front end that Redis does not have",
            self._ledger.backlog,
        )
        yield GaugeMetricFamily(
            "headroom_ledger_buffer_bytes",
            "Entries of all front ends on this machine not yet on Redis's disk",
            _size(self._journal),
        )
        yield from (*self._breakers(), self._task_failures())
        if self._prices.age is not None:
            yield GaugeMetricFamily(
                "headroom_prices_age_seconds", "Time since prices were read", self._prices.age
            )
            yield GaugeMetricFamily(
                "headroom_prices_ignored_rows",
                "Rows of the price table that have no usable price",
                self._prices.ignored,
            )
        yield CounterMetricFamily(
            "headroom_ledger_dropped",
            "Entries this front end could not keep",
            value=self._ledger.dropped,
        )

    def _task_failures(self) -> Metric:
        """Return the failures of this process's tasks, and of the workers' by pool."""
        family = CounterMetricFamily(
            "headroom_task_failures",
            "Background tasks that failed and were started again",
            labels=["task", "pool"],
        )
        for task, failures in sorted(health.failures.items()):
            family.add_metric([task, ""], failures)
        for pool, found in self._pools.items():
            for field, amount in sorted(found["counters"].items()):
                kind, _, task = field.partition(":")
                if kind == "task_failures":
                    family.add_metric([task, pool], amount)
        return family

    def _breakers(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "headroom_redis_breaker_state",
            "Whether a Redis is asked: 0 yes, 1 it is being probed, 2 no",
            labels=["place", "node", "cause"],
        )
        trips = CounterMetricFamily(
            "headroom_redis_breaker_trips",
            "How often this front end stopped asking a Redis",
            labels=["place", "cause"],
        )
        for place in self._places:
            for one in place.readings:
                state.add_metric([place.name, one.node, one.cause or ""], _STATES[one.state])
            for cause, count in sorted(place.trips.items()):
                trips.add_metric([place.name, cause], count)
        yield from (state, trips)

    def _farm(self) -> Iterator[Metric]:
        gauges = {
            "depth": GaugeMetricFamily("headroom_queue_depth", "Jobs that wait", labels=["pool"]),
            "oldest": GaugeMetricFamily(
                "headroom_queue_oldest_seconds",
                "Age of the job that waits longest",
                labels=["pool"],
            ),
            "alive": GaugeMetricFamily(
                "headroom_workers_alive", "Workers with a recent heartbeat", labels=["pool"]
            ),
        }
        jobs = CounterMetricFamily("headroom_jobs", "Jobs taken", labels=["pool", "outcome"])
        blocks = CounterMetricFamily("headroom_blocks", "Blocks done", labels=["pool", "outcome"])
        unfaithful: dict[tuple[str, str], float] = {}
        engine = HistogramMetricFamily(
            "headroom_engine_seconds", "Time a block spends in its engine", labels=["pool"]
        )
        for pool, found in self._pools.items():
            for name, gauge in gauges.items():
                gauge.add_metric([pool], found[name])
            counters = found["counters"]
            for field, amount in sorted(counters.items()):
                kind, _, outcome = field.partition(":")
                if kind == "jobs" and outcome:
                    jobs.add_metric([pool, outcome], amount)
                elif kind == "blocks":
                    blocks.add_metric([pool, outcome], amount)
                elif kind == "unfaithful":
                    of, _, reason = outcome.partition(":")
                    unfaithful[of, reason] = unfaithful.get((of, reason), 0) + amount
            counts = [counters.get(f"engine:{b}", 0) for b in (*ENGINE, BEYOND)]
            total = counters.get("engine_us", 0) / 1e6
            engine.add_metric([pool], _cumulative(ENGINE, counts), total)
        yield from gauges.values()
        refused = CounterMetricFamily(
            "headroom_unfaithful_results",
            "Results of engines that did not pass the check and were dropped",
            labels=["engine", "reason"],
        )
        for labels, amount in sorted(unfaithful.items()):
            refused.add_metric(list(labels), amount)
        yield from (self._engines(), self._paces(), jobs, blocks, refused, engine)
        for name, field, scale, text in _BATCHES:
            family = CounterMetricFamily(name, text, labels=["pool"])
            for pool, found in self._pools.items():
                family.add_metric([pool], found["counters"].get(field, 0) * scale)
            yield family

    def _paces(self) -> Metric:
        """Return what admission reckons with; a pool of which nothing is known has no value."""
        gauge = GaugeMetricFamily(
            "headroom_pool_pace_bytes",
            "Bytes of jobs a pool's workers do in a second of work",
            labels=["pool"],
        )
        for pool in POOLS:
            if (pace := self._workers.bytes_in(pool, 1.0)) >= 0:
                gauge.add_metric([pool], pace)
        return gauge

    def _engines(self) -> Metric:
        """Return which text engines run; why not a better one is in ``/readyz`` and the log."""
        gauge = GaugeMetricFamily(
            "headroom_engine_provider",
            "Workers by the text engine they run and where it runs",
            labels=["pool", "engine", "provider"],
        )
        running: Counter[tuple[str, str]] = Counter()
        for status, workers in self._workers.text_engines.items():
            running[status.engine, status.provider] += workers
        for (engine, provider), workers in sorted(running.items()):
            gauge.add_metric(["gpu", engine, provider], workers)
        return gauge


class _Families:
    """A collector of families made before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def _cumulative(bounds: tuple[float, ...], counts: Sequence[float]) -> list[tuple[str, float]]:
    pairs, so_far = [], 0.0
    for bound, count in zip((*map(str, bounds), BEYOND), counts, strict=True):
        so_far += count
        pairs.append((bound, so_far))
    return pairs


def _size(directory: Path) -> int:
    total = 0
    for path in directory.glob("*.jsonl"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
