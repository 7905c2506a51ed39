"""``/metrics``: Prometheus text from the ledger and the pools' counters in Redis.

These counters cover the whole farm, so every front end reports the same values and a restart loses
nothing. If several front ends are scraped, aggregate with ``max``, not ``sum``. The metrics of
``Metrics._process`` are a front end's own; docs/books.md says how to aggregate each.
"""

from __future__ import annotations

import asyncio
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

from shared.circuit_breaker import State
from shared.errors import Unavailable
from shared.histogram_buckets import BEYOND, ENGINE, REQUEST
from shared.settings import POOLS, Settings

from ..runtime.background_tasks import end, every, health, supervise
from ..runtime.bypass import BypassSwitch
from ..runtime.policy_reload import PolicySource
from ..runtime.redis_guard import RedisGuard
from ..runtime.worker_view import WorkerView
from .ledger import Ledger
from .metrics_of_processes import Figures, ProcessBoard
from .proxy_counters import ProxyCounters, proxy_families
from .time_range import TimeRange
from .token_prices import Prices
from .usage_reader import Reader, Row

_PLAIN = (
    ("headroom_requests", "requests", "Requests answered with a conversation"),
    ("headroom_compressed", "compressed", "Requests whose conversation became smaller"),
    ("headroom_tokens_before", "before", "Tokens of the conversations as received"),
    ("headroom_tokens_after", "after", "Tokens of the conversations as returned"),
    ("headroom_tokens_saved", "saved", "Tokens removed"),
    (
        "headroom_errors",
        "errors",
        "Requests answered with an error, or returned unchanged because of one",
    ),
    ("headroom_cache_hits", "hits", "Blocks with a cached form"),
    ("headroom_cache_misses", "misses", "Blocks without a cached form"),
    ("headroom_retrievals", "retrievals", "Originals retrieved"),
    (
        "headroom_ledger_clock_corrected",
        "corrected",
        "Entries recorded at Redis's time because their host's clock was wrong",
    ),
)
_BATCHES = (
    ("headroom_batches", "batches", 1, "Batches scored by the text engine"),
    ("headroom_batch_rows", "rows", 1, "Rows in those batches"),
    ("headroom_batch_tokens", "tokens", 1, "Tokens in those batches, without padding"),
    ("headroom_batch_wait_seconds", "wait_ms", 1e-3, "Total time that jobs spent in the queue"),
    ("headroom_inference_seconds", "inference_ms", 1e-3, "Total time of model inference"),
)
_PUBLISH_SECONDS = 1.0
_STATES: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}
_LABELLED = (
    ("headroom_degraded", "d:", "reason", "Answers that left text uncompressed, by reason"),
    ("headroom_uncompressed", "n:", "reason", "Requests that saved nothing, by reason"),
    ("headroom_refused", "err:", "type", "Requests answered with an error, by its type"),
)


class Metrics:
    """Collects and renders metrics; keeps the last ledger for when Redis is unavailable."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        ledger: Ledger,
        prices: Prices,
        pools: WorkerView,
        places: Sequence[RedisGuard],
        switch: BypassSwitch,
        policies: PolicySource,
        proxy: ProxyCounters,
    ) -> None:
        self._proxy = proxy
        self._switch = switch
        self._policies = policies
        self._workers = pools
        self._prices = prices
        self._places = places
        self._journal = settings.data_dir / "ledger"
        self._reader = reader
        self._ledger = ledger
        self._started = time.monotonic()
        self._total: Row = {}
        self._pools: dict[str, dict[str, Any]] = {}
        self._up = True
        self._task: asyncio.Task[None] | None = None
        self.processes = ProcessBoard(settings.data_dir / "processes", settings.port, self._own)

    async def start(self) -> None:
        """Start publishing this process's figures to the other processes of this port."""
        self.processes.open()
        self._task = supervise("process-figures", self._publish_on)

    async def stop(self) -> None:
        """Stop publishing; the counters are kept for the remaining processes."""
        await end([self._task])
        self.processes.close()

    async def _publish_on(self) -> None:
        async def publish() -> None:
            self._up = all(place.can_read() for place in self._places[:1])
            self.processes.publish()

        await every(_PUBLISH_SECONDS, publish)

    async def text(self) -> bytes:
        """Return the exposition text."""
        try:
            self._total = (await self._reader.totals(TimeRange())).total
            self._pools = {pool: await self._reader.pool(pool) for pool in POOLS}
            self._up = True
        except Unavailable:
            self._up = False
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families([*self._ledger_families(), *self._process(), *self._farm()]))
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

    def _own(self) -> Figures:
        """Return this process's figures, for scrapes answered by its siblings."""
        counters = {"dropped": self._ledger.dropped}
        breakers: list[tuple[tuple[str, str, str], int]] = []
        for place in self._places:
            for one in place.readings:
                breakers.append(((place.name, one.node, one.cause or ""), _STATES[one.state]))
            counters |= {f"trips:{place.name}:{c}": n for c, n in sorted(place.trips.items())}
        counters |= self._proxy.counters
        counters |= {f"task:{name}": n for name, n in sorted(health.failures.items())}
        return Figures(
            started=self._started,
            redis_up=self._up,
            bypass=self._switch.bypass is not None,
            backlog=self._ledger.backlog,
            prices_age=self._prices.stale_seconds,
            prices_ignored=self._prices.ignored,
            breakers=breakers,
            counters=counters,
            policy_fault=bool(self._policies.fault),
            open_streams=self._proxy.open_streams,
            tasks=len(asyncio.all_tasks()),
        )

    def _process(self) -> Iterator[Metric]:
        """Return the combined figures of this port's processes; all processes return the same."""
        found = self.processes.read()
        gauges = (
            ("redis_up", "Whether Redis answers every process", int(found.redis_up)),
            (
                "bypass",
                "Whether a process compresses nothing because of the emergency switch",
                int(found.bypass),
            ),
            (
                "policy_fault",
                "Whether a process uses an earlier policy because its file has no valid one",
                int(found.policy_fault),
            ),
            (
                "uptime_seconds",
                "Time since the oldest process started",
                time.monotonic() - found.started,
            ),
            ("event_loop_tasks", "Unfinished tasks of the event loops", found.tasks),
            (
                "ledger_backlog_entries",
                "Entries of this front end that Redis does not have",
                found.backlog,
            ),
            (
                "ledger_buffer_bytes",
                "Entries of all front ends on this machine not yet on Redis's disk",
                _size(self._journal),
            ),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"headroom_{name}", text, value)
        yield from (*_breakers(found), self._task_failures(found), *proxy_families(found))
        if found.prices_age is not None:
            yield GaugeMetricFamily(
                "headroom_prices_age_seconds",
                "Time since prices were read, or since the start if they never were",
                found.prices_age,
            )
            yield GaugeMetricFamily(
                "headroom_prices_ignored_rows",
                "Rows of the price table that have no usable price",
                found.prices_ignored,
            )
        yield CounterMetricFamily(
            "headroom_ledger_dropped",
            "Entries this front end could not keep",
            value=found.counters.get("dropped", 0),
        )

    def _task_failures(self, processes: Figures) -> Metric:
        """Return the failures of front-end tasks, and of workers' tasks by pool."""
        family = CounterMetricFamily(
            "headroom_task_failures",
            "Background tasks that failed and were restarted",
            labels=["task", "pool"],
        )
        for name, failures in sorted(processes.counters.items()):
            if name.startswith("task:"):
                family.add_metric([name.removeprefix("task:"), ""], failures)
        for pool, found in self._pools.items():
            for field, amount in sorted(found["counters"].items()):
                kind, _, task = field.partition(":")
                if kind == "task_failures":
                    family.add_metric([task, pool], amount)
        return family

    def _farm(self) -> Iterator[Metric]:
        gauges = {
            "depth": GaugeMetricFamily("headroom_queue_depth", "Waiting jobs", labels=["pool"]),
            "oldest": GaugeMetricFamily(
                "headroom_queue_oldest_seconds",
                "Age of the oldest waiting job",
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
            "Engine results that failed the check and were dropped",
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
        """Return the paces that admission uses; a pool whose pace is unknown has no value."""
        gauge = GaugeMetricFamily(
            "headroom_pool_pace_bytes",
            "Bytes of jobs that a pool's workers process per second of work",
            labels=["pool"],
        )
        for pool in POOLS:
            if (pace := self._workers.bytes_in(pool, 1.0)) >= 0:
                gauge.add_metric([pool], pace)
        return gauge

    def _engines(self) -> Metric:
        """Return the running text engines; ``/readyz`` says why a faster one is not in use."""
        gauge = GaugeMetricFamily(
            "headroom_engine_provider",
            "Workers by text engine and its provider",
            labels=["pool", "engine", "provider"],
        )
        running: Counter[tuple[str, str]] = Counter()
        for status, workers in self._workers.text_engines.items():
            running[status.engine, status.provider] += workers
        for (engine, provider), workers in sorted(running.items()):
            gauge.add_metric(["gpu", engine, provider], workers)
        return gauge


def _breakers(processes: Figures) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "headroom_redis_breaker_state",
        "State of a Redis's circuit breaker: 0 closed, 1 probing, 2 open",
        labels=["place", "node", "cause"],
    )
    trips = CounterMetricFamily(
        "headroom_redis_breaker_trips",
        "How often a Redis's circuit breaker opened",
        labels=["place", "cause"],
    )
    for labels, value in processes.breakers:
        state.add_metric(list(labels), value)
    for name, count in sorted(processes.counters.items()):
        kind, _, rest = name.partition(":")
        if kind == "trips":
            trips.add_metric(rest.split(":", 1), count)
    yield from (state, trips)


class _Families:
    """A collector of given metric families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
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
