"""A circuit breaker: who asks a Redis that is away is told so at once, and one probe looks again.

Closed, everybody asks. A failure that is Redis's own opens it, and nobody asks. Then one
probe at a time goes out (half open): at once after the failure, for a connection may just have
been cut, and every ``redis_retry_seconds`` after a probe that failed. A probe that is answered
closes it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

State = Literal["closed", "half_open", "open"]
Cause = Literal[
    "unreachable",
    "timeout",
    "loading",
    "denied",
    "out_of_memory",
    "read_only",
    "cannot_persist",
    "no_replicas",
    "busy",
    "cluster_down",
]
REFUSES_WRITES: frozenset[Cause] = frozenset(
    {"out_of_memory", "read_only", "cannot_persist", "no_replicas"}
)
"""Causes for which a Redis still answers who only reads."""

_CAUSES: tuple[tuple[type[BaseException], Cause], ...] = (
    (OutOfMemoryError, "out_of_memory"),
    (ReadOnlyError, "read_only"),
    (BusyLoadingError, "loading"),
    (AuthenticationError, "denied"),
    (AuthorizationError, "denied"),
    (NoPermissionError, "denied"),
    (ClusterDownError, "cluster_down"),
    (RedisClusterException, "cluster_down"),
    (RedisTimeoutError, "timeout"),
    (TimeoutError, "timeout"),
)
_CODES: tuple[tuple[str, Cause], ...] = (
    ("MISCONF", "cannot_persist"),
    ("NOREPLICAS", "no_replicas"),
    ("BUSY ", "busy"),
    ("NOAUTH", "denied"),
    ("WRONGPASS", "denied"),
    ("NOPERM", "denied"),
    ("ACL failure", "denied"),
    ("READONLY", "read_only"),
    ("OOM", "out_of_memory"),
)
"""Errors that redis-py has no class for, or that came out of a script, by how they begin."""


def cause_of(error: BaseException) -> Cause | None:
    """Return why Redis would fail others too; None where it refused this command alone.

    Too many connections of this very process are no failure of Redis's either.
    """
    if isinstance(error, MaxConnectionsError):
        return None
    for kind, cause in _CAUSES:
        if isinstance(error, kind):
            return cause
    if isinstance(error, ResponseError):
        text = str(error)
        return next((cause for code, cause in _CODES if text.startswith(code)), None)
    return "unreachable" if isinstance(error, RedisError | OSError) else None


class Reading(NamedTuple):
    """What a breaker says of itself. ``node`` is empty but in a Cluster."""

    place: str
    node: str
    state: State
    cause: Cause | None


class Breaker:
    """One breaker. ``clock`` gives seconds; ``trips`` counts how often it opened, by cause."""

    def __init__(self, retry_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._due = 0.0
        self.state: State = "closed"
        self.cause: Cause | None = None
        self.trips: Counter[Cause] = Counter()

    @property
    def admits(self) -> bool:
        """Whether anybody may ask."""
        return self.state == "closed"

    @property
    def admits_reading(self) -> bool:
        """Whether anybody may ask who only reads."""
        return self.admits or self.cause in REFUSES_WRITES

    def probe(self) -> bool:
        """Say whether to probe now; then tell :meth:`answered` or :meth:`failed`."""
        if self.state == "half_open" or (self.state == "open" and self._clock() < self._due):
            return False
        if self.state == "open":
            self.state = "half_open"
        return True

    def answered(self) -> None:
        """Close it: a probe was answered."""
        self.state, self.cause = "closed", None

    def failed(self, cause: Cause) -> bool:
        """Open it; return whether it was closed before."""
        tripped = self.state == "closed"
        if tripped:
            self.trips[cause] += 1
            self._due = self._clock()
        elif self.state == "half_open":
            self._due = self._clock() + self._retry_seconds
        # Of who asked before it opened and fails only now, nothing new is learnt.
        if self.state != "open":
            self.state, self.cause = "open", cause
        return tripped
