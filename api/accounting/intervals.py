"""Confidence intervals of means and ratios over sessions, and of differences between two groups.

The unit is the session, because requests of one session are not independent. All intervals are
95 % intervals by the normal approximation with Student's quantile. There is no resampling, so a
report on 20 000 sessions takes milliseconds and every front end gives the same figures. The
variance of a ratio of sums is linearised (delta method), the ratio of two means is taken on the
log scale, and two means are compared by Welch's method. A group of fewer than :data:`FEWEST`
sessions has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

FEWEST = 5
_NORMAL = NormalDist().inv_cdf(0.975)


class Interval(NamedTuple):
    """An estimate and its 95 % interval; None if too little is known."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Return it in the format of reports."""
        return {"value": _round(self.value), "low": _round(self.low), "high": _round(self.high)}


class Sample(NamedTuple):
    """One measure of a group's sessions: their number, the mean, and the variance of the mean."""

    sessions: int
    mean: float
    of_mean: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Return the sample with these values; ``of_mean`` is the variance of their mean."""
        count = len(values)
        mean = math.fsum(values) / count if count else 0.0
        if count < 2:
            return cls(count, mean, 0.0)
        squares = math.fsum((value - mean) ** 2 for value in values)
        return cls(count, mean, squares / (count - 1) / count)

    @property
    def interval(self) -> Interval:
        """The mean with its interval."""
        if not self.sessions:
            return Interval(None)
        if self.sessions < FEWEST:
            return Interval(self.mean)
        half = quantile(self.sessions - 1) * math.sqrt(self.of_mean)
        return Interval(self.mean, self.mean - half, self.mean + half)


def ratio(above: Sequence[float], below: Sequence[float]) -> Interval:
    """Return the sum of ``above`` over the sum of ``below``; both list the same sessions."""
    total = math.fsum(below)
    if not total:
        return Interval(None)
    found = math.fsum(above) / total
    count = len(below)
    if count < FEWEST:
        return Interval(found)
    left = [a - found * b for a, b in zip(above, below, strict=True)]
    variance = math.fsum(x * x for x in left) * count / (count - 1) / total**2
    half = quantile(count - 1) * math.sqrt(variance)
    return Interval(found, found - half, found + half)


def difference(one: Sample, other: Sample) -> Interval:
    """Return how much larger the mean of ``one`` is than that of ``other``."""
    if not one.sessions or not other.sessions:
        return Interval(None)
    found = one.mean - other.mean
    if min(one.sessions, other.sessions) < FEWEST:
        return Interval(found)
    variance = one.of_mean + other.of_mean
    half = quantile(_freedom(one, other)) * math.sqrt(variance)
    return Interval(found, found - half, found + half)


def relative(one: Sample, other: Sample) -> Interval:
    """Return the mean of ``one`` over that of ``other``, less 1: -0.2 is a fifth less."""
    if not one.sessions or not other.sessions or one.mean <= 0 or other.mean <= 0:
        return Interval(None)
    found = one.mean / other.mean
    if min(one.sessions, other.sessions) < FEWEST:
        return Interval(found - 1)
    variance = one.of_mean / one.mean**2 + other.of_mean / other.mean**2
    factor = math.exp(min(50.0, quantile(_freedom(one, other)) * math.sqrt(variance)))
    return Interval(found - 1, found / factor - 1, found * factor - 1)


def _freedom(one: Sample, other: Sample) -> float:
    """Return the degrees of freedom of the difference of two means (Welch and Satterthwaite)."""
    total = one.of_mean + other.of_mean
    below = one.of_mean**2 / (one.sessions - 1) + other.of_mean**2 / (other.sessions - 1)
    return total**2 / below if below > 0 else float(one.sessions + other.sessions - 2)


@lru_cache(maxsize=4096)
def quantile(freedom: float) -> float:
    """Return Student's 0.975 quantile (Cornish and Fisher's expansion; within 1 %)."""
    # The error bound holds from 4 degrees of freedom on, which FEWEST sessions have.
    z, n = _NORMAL, max(1.0, freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
