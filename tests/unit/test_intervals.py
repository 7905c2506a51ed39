"""Intervals over sessions: compared with tables and simulation, and with too little data."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest

from api.accounting.intervals import FEWEST, Interval, Sample, difference, quantile, ratio, relative

RUNS = 1500


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(4, 2.776), (5, 2.571), (9, 2.262), (19, 2.093), (29, 2.045), (99, 1.984), (10**6, 1.960)],
)
def test_quantile_matches_students_table(freedom: int, expected: float) -> None:
    assert quantile(freedom) == pytest.approx(expected, rel=0.01)


def _covered(draw: Callable[[random.Random], Interval], truth: float) -> float:
    chance = random.Random(7)
    hits = 0
    for _ in range(RUNS):
        found = draw(chance)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    return hits / RUNS


def _size(chance: random.Random) -> float:
    """Draw a session's size: a few are very large."""
    return chance.lognormvariate(0.0, 0.6)


MEAN = math.exp(0.18)


def test_intervals_have_about_the_stated_coverage() -> None:
    """With 60 skewed sessions, coverage is within a few per cent of 95 %."""

    def mean(chance: random.Random) -> Interval:
        return Sample.of([_size(chance) for _ in range(60)]).interval

    def share(chance: random.Random) -> Interval:
        sizes = [_size(chance) for _ in range(60)]
        return ratio([size * chance.uniform(0.6, 0.8) for size in sizes], sizes)

    def apart(chance: random.Random) -> Interval:
        one = Sample.of([0.8 * _size(chance) for _ in range(60)])
        return difference(one, Sample.of([_size(chance) for _ in range(40)]))

    def fewer(chance: random.Random) -> Interval:
        one = Sample.of([0.8 * _size(chance) for _ in range(60)])
        return relative(one, Sample.of([_size(chance) for _ in range(40)]))

    for draw, truth in ((mean, MEAN), (share, 0.7), (apart, -0.2 * MEAN), (fewer, -0.2)):
        assert 0.91 < _covered(draw, truth) < 0.98, draw


def test_mean_and_spread_are_those_of_the_values() -> None:
    values = [3.0, 4.0, 8.0, 1.0, 9.0, 2.0]
    found = Sample.of(values)
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.of_mean == pytest.approx(statistics.variance(values) / 6)


def test_too_few_sessions_have_no_interval() -> None:
    few, enough = [1.0] * (FEWEST - 1), [1.0, 2.0, 3.0, 4.0, 5.0]
    assert Sample.of(few).interval == Interval(1.0)
    assert ratio(few, few) == Interval(1.0)
    assert difference(Sample.of(few), Sample.of(enough)) == Interval(-2.0)
    assert relative(Sample.of(enough), Sample.of(few)) == Interval(2.0)
    assert Sample.of(enough).interval.low is not None


def test_unknown_values_are_none_not_zero() -> None:
    none, some = Sample.of([]), Sample.of([1.0] * 9)
    assert none.interval == Interval(None)
    assert ratio([], []) == Interval(None)
    assert ratio([1.0] * 9, [0.0] * 9) == Interval(None)
    assert difference(none, some) == Interval(None)
    assert relative(some, Sample.of([0.0] * 9)) == Interval(None)


def test_equal_groups_do_not_differ() -> None:
    same = Sample.of([5.0] * 20)
    assert difference(same, same) == Interval(0.0, 0.0, 0.0)
    assert relative(same, same) == Interval(0.0, 0.0, 0.0)
