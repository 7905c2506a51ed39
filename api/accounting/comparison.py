"""The body of ``GET /stats/policy``: compares the policy's groups, with sessions as the unit."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from .intervals import Interval, Sample, difference, ratio, relative
from .time_range import TimeRange
from .usage_reader import Reader, TrialLine
from .usage_record import money

MEASURES = {
    "bill_usd": "with",
    "bill_without_farm_usd": "without",
    "tokens_came": "before",
    "tokens_left": "after",
    "requests": "requests",
    "retrievals": "retrievals",
    "repeated_reads": "repeats",
}
"""The report's figures of a session, and the counters they are computed from."""
_COMPARED = ("bill_usd", "tokens_left", "requests", "retrievals", "repeated_reads")
_MONEY = 1e-10
_CHUNK = 1000


class PolicyReport:
    """Reads the sessions of the policy's groups, and compares the groups."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, window: TimeRange) -> dict[str, Any]:
        """Return the rules' groups, with the sessions whose last request is in ``window``.

        Raises:
            Unavailable: Redis did not answer.
        """
        lines = await self._reader.trials(window)
        rules: dict[str, dict[str, list[TrialLine]]] = defaultdict(lambda: defaultdict(list))
        for line in lines:
            rules[line.rule][line.arm].append(line)
        found = []
        for name in sorted(rules):
            groups = rules[name]
            found.append(
                {
                    "rule": name,
                    "groups": {arm: _group(groups[arm]) for arm in sorted(groups)},
                    "comparison": _compared(groups),
                }
            )
            await asyncio.sleep(0)
        return {
            "window": window.as_json(),
            "unit": "session",
            "confidence": 0.95,
            "rules": found,
        }


def _values(lines: Sequence[TrialLine], counter: str) -> list[float]:
    return [float(line.amounts.get(counter, 0)) for line in lines]


def _group(lines: Sequence[TrialLine]) -> dict[str, Any]:
    """Return a group's totals, means per session, and shares with their intervals."""
    read = [line for line in lines if line.amounts.get("before", 0)]
    total = {
        name: sum(line.amounts.get(counter, 0) for line in lines)
        for name, counter in MEASURES.items()
    }
    requests = _values(lines, "requests")
    return {
        "sessions": len(lines),
        "requests": total["requests"],
        "requests_not_read": sum(line.amounts.get("unread", 0) for line in lines),
        "requests_degraded": sum(line.amounts.get("degraded", 0) for line in lines),
        "total": {
            name: float(money(amount)) if name.endswith("_usd") else amount
            for name, amount in total.items()
            if name != "requests"
        },
        "a_session": {
            name: _scaled(name, Sample.of(_values(lines, counter)).interval).as_json()
            for name, counter in MEASURES.items()
        },
        "latency_ms": _times(ratio(_values(lines, "latency_us"), requests), 1e-3).as_json(),
        "saved_share_of_bill": _saved(ratio(_values(read, "with"), _values(read, "without"))),
        "saved_share_of_tokens": _saved(ratio(_values(read, "after"), _values(read, "before"))),
    }


def _saved(kept: Interval) -> dict[str, float | None]:
    """Return the share saved, given the share kept."""
    value, low, high = (None if x is None else 1 - x for x in kept)
    return Interval(value, high, low).as_json()


def _compared(groups: dict[str, list[TrialLine]]) -> dict[str, Any] | None:
    """Return how the compressed sessions differ from those of the control group.

    Audited sessions are not compared, because they were sent unchanged.
    """
    treated, control = groups.get("on"), groups.get("control")
    if not treated or not control:
        return None
    found: dict[str, Any] = {}
    for name in _COMPARED:
        counter = MEASURES[name]
        one, other = (Sample.of(_values(lines, counter)) for lines in (treated, control))
        found[name] = {
            "difference": _scaled(name, difference(one, other)).as_json(),
            "relative": relative(one, other).as_json(),
        }
    slow = [Sample.of(_latencies(lines)) for lines in (treated, control)]
    found["latency_ms"] = {
        "difference": _times(difference(*slow), 1e-3).as_json(),
        "relative": relative(*slow).as_json(),
    }
    return found


def _latencies(lines: Sequence[TrialLine]) -> list[float]:
    """Return each session's mean latency (microseconds)."""
    return [
        line.amounts.get("latency_us", 0) / requests
        for line in lines
        if (requests := line.amounts.get("requests", 0))
    ]


def _scaled(name: str, interval: Interval) -> Interval:
    return _times(interval, _MONEY) if name.endswith("_usd") else interval


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(*[None if x is None else x * factor for x in interval])
