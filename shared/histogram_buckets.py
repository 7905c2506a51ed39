"""The histograms' buckets: upper bounds in seconds, and the bucket of a duration."""

from __future__ import annotations

from collections.abc import Sequence

REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0, 10.0)
"""Time to an answer: from a request without new messages to beyond the default deadline."""
ENGINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Time in an engine: from folding grep output to the engine timeout."""
BEYOND = "+Inf"


def bucket_of(seconds: float, bounds: Sequence[float]) -> str:
    """Return the name of the first bound that ``seconds`` does not exceed."""
    return next((str(bound) for bound in bounds if seconds <= bound), BEYOND)


def quantile(q: float, counts: Sequence[float], bounds: Sequence[float]) -> float | None:
    """Return the ``q`` quantile (0 to 1) in seconds, by the rule of Prometheus.

    ``counts`` holds the observations in each bucket, with one more bucket above the last bound.
    They are assumed to be evenly distributed within a bucket; above the last bound the result
    is that bound. None if nothing was counted.
    """
    rank, so_far, lower = q * sum(counts), 0.0, 0.0
    if not sum(counts):
        return None
    for bound, count in zip(bounds, counts, strict=False):
        if count and so_far + count >= rank:
            return lower + (bound - lower) * (rank - so_far) / count
        so_far, lower = so_far + count, bound
    return lower
