"""A circuit breaker: commands to an unavailable Redis fail at once, and single probes test it.

Closed, all commands are sent. A failure of Redis itself opens it, and none are sent. Then one
probe at a time is sent (half open): immediately after the failure, because only a connection
may have been lost, and ``redis_retry_seconds`` after each failed probe. A probe that succeeds
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
"""Causes for which Redis still answers read-only commands."""

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
"""Errors without a class in redis-py, or raised by a script, by the start of their message."""


def cause_of(error: BaseException) -> Cause | None:
    """Return the cause if other commands would fail too; None if only this one was refused.

    Running out of connections in this process is not a failure of Redis either.
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
    """A breaker's state. ``node`` is empty except in a Cluster."""

    place: str
    node: str
    state: State
    cause: Cause | None


class Breaker:
    """One breaker. ``clock`` returns seconds; ``trips`` counts by cause how often it opened."""

    def __init__(self, retry_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._due = 0.0
        self.state: State = "closed"
        self.cause: Cause | None = None
        self.trips: Counter[Cause] = Counter()

    @property
    def admits(self) -> bool:
        """Whether commands may be sent."""
        return self.state == "closed"

    @property
    def admits_reading(self) -> bool:
        """Whether read-only commands may be sent."""
        return self.admits or self.cause in REFUSES_WRITES

    def probe(self) -> bool:
        """Return whether to probe now; the caller then calls :meth:`answered` or :meth:`failed`."""
        if self.state == "half_open" or (self.state == "open" and self._clock() < self._due):
            return False
        if self.state == "open":
            self.state = "half_open"
        return True

    def answered(self) -> None:
        """Close it: a probe succeeded."""
        self.state, self.cause = "closed", None

    def failed(self, cause: Cause) -> bool:
        """Open it; return whether it was closed before."""
        tripped = self.state == "closed"
        if tripped:
            self.trips[cause] += 1
            self._due = self._clock()
        elif self.state == "half_open":
            self._due = self._clock() + self._retry_seconds
        # A command that was sent before the breaker opened may still fail now: nothing new.
        if self.state != "open":
            self.state, self.cause = "open", cause
        return tripped
