"""Percentiles of histograms, and the days of a time range's chart."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.accounting.time_range import TimeRange
from shared.histogram_buckets import quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((10, 0, 0, 0), 0.5, 0.5),
        ((0, 10, 0, 0), 0.5, 1.5),
        ((5, 5, 0, 0), 0.5, 1.0),
        ((0, 0, 4, 0), 0.25, 2.5),
        ((90, 5, 4, 1), 0.95, 2.0),
        ((0, 0, 0, 3), 0.5, 4.0),  # beyond the last bound: that bound
        ((1, 0, 0, 99), 0.99, 4.0),
    ],
)
def test_quantiles_equal_those_of_prometheus(
    counts: tuple[int, ...], q: float, expected: float | None
) -> None:
    assert quantile(q, counts, BOUNDS) == expected


def test_chart_days_stay_within_retention() -> None:
    month = TimeRange.parse(None, "2026-03-01T05:00:00Z", "2026-03-31T12:00:00Z").days(400)
    assert (month[0], month[-1], len(month)) == (
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2026, 3, 31, tzinfo=UTC),
        31,
    )
    assert len(TimeRange.parse(None, "2026-03-01T05:00:00Z", "2026-03-31T12:00:00Z").days(7)) == 7
    assert TimeRange.parse("day", None, None).days(400) == []  # made of hours
    assert len(TimeRange().days(400)) == 400
