"""The proxy's metrics: answers by provider and status, failures, latency, open streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from shared.histogram_buckets import BEYOND, REQUEST, bucket_of, quantile

from .metrics_of_processes import Figures

_TIMES = {
    "added": "Time from a model call's arrival until it was sent to the provider",
    "upstream": "Time from sending a model call until the head of the provider's answer",
}


class ProxyCounters:
    """One process's counters; the process board adds those of its siblings."""

    def __init__(self) -> None:
        self.open_streams = 0
        self._counts: Counter[str] = Counter()

    @property
    def counters(self) -> dict[str, int]:
        """The counters by name; they only grow."""
        return dict(self._counts)

    def answered(self, provider: str, status: int, added: float, upstream: float) -> None:
        """Count a model call's answer; ``added`` and ``upstream`` are seconds."""
        self._counts[f"proxy:answers:{provider}:{status // 100}xx"] += 1
        for name, seconds in (("added", added), ("upstream", upstream)):
            self._counts[f"proxy:{name}:{bucket_of(seconds, REQUEST)}"] += 1
            self._counts[f"proxy:{name}_us"] += round(seconds * 1e6)

    def failed(self, provider: str, kind: str) -> None:
        """Count an answer that did not arrive or was cut off."""
        self._counts[f"proxy:failures:{provider}:{kind}"] += 1

    def retrieved(self, outcome: str) -> None:
        """Count a retrieval within a turn: ``served`` or ``failed``.

        It is also counted as ``not_kept`` if the session's later requests go without it.
        """
        self._counts[f"proxy:retrievals:{outcome}"] += 1


def proxy_families(figures: Figures) -> Iterator[Metric]:
    """Yield the proxy's metrics; none if it has not answered a request."""
    counters = figures.counters
    yield GaugeMetricFamily(
        "headroom_proxy_open_streams",
        "Answers of providers that are being relayed",
        figures.open_streams,
    )
    for name, text, labels in (
        ("answers", "Model calls answered by a provider", ("provider", "status")),
        ("failures", "Model calls whose answer was missing or cut off", ("provider", "kind")),
        ("retrievals", "Retrievals answered within a turn", ("outcome",)),
    ):
        family = CounterMetricFamily(f"headroom_proxy_{name}", text, labels=labels)
        for found, amount in _named(counters, f"proxy:{name}:").items():
            family.add_metric(found.split(":"), amount)
        yield family
    for name, text in _TIMES.items():
        histogram = HistogramMetricFamily(f"headroom_proxy_{name}_seconds", text)
        so_far, pairs = 0, []
        for bound, count in zip((*map(str, REQUEST), BEYOND), _counts(counters, name), strict=True):
            so_far += count
            pairs.append((bound, so_far))
        histogram.add_metric([], pairs, counters.get(f"proxy:{name}_us", 0) / 1e6)
        yield histogram


def proxy_report(figures: Figures) -> dict[str, Any]:
    """Return the proxy's part of ``/stats/farm``."""
    counters = figures.counters
    added, upstream = (_quantiles(_counts(counters, name)) for name in _TIMES)
    return {
        "answers": _named(counters, "proxy:answers:"),
        "failures": _named(counters, "proxy:failures:"),
        "retrievals": _named(counters, "proxy:retrievals:"),
        "open_streams": figures.open_streams,
        "added": added,
        "upstream": upstream,
    }


def _named(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {n.removeprefix(prefix): c for n, c in sorted(counters.items()) if n.startswith(prefix)}


def _counts(counters: Mapping[str, int], name: str) -> list[int]:
    return [counters.get(f"proxy:{name}:{bound}", 0) for bound in (*REQUEST, BEYOND)]


def _quantiles(counts: list[int]) -> dict[str, float | None]:
    found = {name: quantile(q, counts, REQUEST) for name, q in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    return {n: None if s is None else round(s * 1000, 3) for n, s in found.items()}
