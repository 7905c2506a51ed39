"""Redis connections, made the same way everywhere."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from .settings import Settings

BROKEN = (RedisError, OSError)
"""What a Redis that is away, slow or refusing raises (a ``TimeoutError`` is an ``OSError``)."""


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "socket_connect_timeout": settings.redis_connect_timeout,
        "health_check_interval": 0,
        "protocol": 3,
    }


def connect(settings: Settings, *, blocking_seconds: float = 0.0) -> redis.Redis:
    """Return a client for a worker; ``blocking_seconds`` is its longest blocking command."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout + blocking_seconds,
        retry=Retry(NoBackoff(), 0),
        **_options(settings),
    )


def connect_async(settings: Settings, *, blocking_seconds: float = 0.0) -> redis.asyncio.Redis:
    """Return a client for a front end; ``blocking_seconds`` as for :func:`connect`."""
    return redis.asyncio.Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout + blocking_seconds,
        retry=AsyncRetry(NoBackoff(), 0),
        **_options(settings),
    )


def connect_state(settings: Settings) -> redis.Redis:
    """Return a worker's client for the users' state."""
    return connect(settings)


def connect_state_async(settings: Settings) -> redis.asyncio.Redis:
    """Return a front end's client for the users' state."""
    return connect_async(settings)
