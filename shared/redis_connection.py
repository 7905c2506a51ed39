"""Redis connections, made the same way everywhere: timeouts, TLS, passwords, server kinds.

The farm's keys (see ``keys``) are on two servers. Queues, replies, the ledger and the state of
the pools are at ``HEADROOM_REDIS_URL``: :func:`connect` and :func:`connect_async`. That is one
server or the master of a Sentinel set, never a Cluster: RQ's keys share no slot. Users' state is
at ``HEADROOM_STATE_URL``, by default the same server, and that may be a Cluster:
:func:`connect_state` and :func:`connect_state_async`.

All kinds of clients support, with the keys of ONE user in each call:

* plain commands, and ``pipeline(transaction=False)`` of them; in a pipeline ``unlink`` and
  ``delete`` take one key, and there is no ``mget``;
* ``register_script(body)(keys=..., args=...)``;
* in a synchronous pipeline ``that_script(keys=..., args=..., client=pipe)``, in either kind of
  pipeline ``pipe.evalsha(that_script.sha, len(keys), *keys, *args)``. (Never give an
  asynchronous pipeline to a script: on a Cluster, awaiting it empties it.) On a plain
  server the second form can raise ``NoScriptError``. On a Cluster, redis-py refuses ``EVALSHA``
  in pipelines because a node that was promoted or restarted knows no scripts; here each call
  sends the script's text instead (``EVAL``, about 1 KB), and it must be one of
  ``shared/scripts``.

No client retries a command by itself: the caller has a deadline and knows which commands may be
sent twice.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
import structlog
from redis.asyncio.connection import parse_url as parse_async_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.credentials import CredentialProvider
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel

from .address import Address
from .cluster import AsyncCluster, Cluster
from .settings import Settings

_log = structlog.get_logger(__name__)

BROKEN = (RedisError, RedisClusterException, OSError)
"""Errors of an unavailable, slow or refusing Redis (a ``TimeoutError`` is an ``OSError``)."""

_MAX_CONNECTIONS = 1000
"""Concurrent commands from a process to one server; each holds a connection."""


def connect(settings: Settings, *, blocking_seconds: float = 0.0) -> redis.Redis:
    """Return a client for queues and ledger.

    ``blocking_seconds`` is how long its longest blocking command may wait.
    """
    client = _sync(settings.redis_address, settings.redis_password_file, settings, blocking_seconds)
    if not isinstance(client, redis.Redis):
        raise TypeError("HEADROOM_REDIS_URL names a Cluster")
    return client


def connect_async(settings: Settings, *, blocking_seconds: float = 0.0) -> redis.asyncio.Redis:
    """Return a front end's client for queues and ledger; ``blocking_seconds`` as before."""
    address, file = settings.redis_address, settings.redis_password_file
    client = _async(address, file, settings, blocking_seconds)
    if not isinstance(client, redis.asyncio.Redis):
        raise TypeError("HEADROOM_REDIS_URL names a Cluster")
    return client


def connect_state(settings: Settings) -> redis.Redis:
    """Return a worker's client for the state of users.

    A Cluster's client needs the Cluster's map: this returns when one of its nodes has answered.
    """
    # Callers are typed with redis.Redis; a Cluster's client has its commands but is no subclass.
    client: Any = _sync(settings.state_address, settings.state_credentials, settings, 0.0)
    return client  # type: ignore[no-any-return]


def connect_state_async(settings: Settings) -> redis.asyncio.Redis:
    """Return a front end's client for the state of users."""
    client: Any = _async(settings.state_address, settings.state_credentials, settings, 0.0)
    return client  # type: ignore[no-any-return]


def renew(client: redis.Redis) -> None:
    """Close idle connections: the address may now lead to another server."""
    client.connection_pool.disconnect(inuse_connections=False)


async def renew_async(client: Any) -> None:
    """Close idle connections, as :func:`renew`; a Cluster's client manages its own."""
    if isinstance(client, redis.asyncio.Redis):
        await client.connection_pool.disconnect(inuse_connections=False)


# ── construction ────────────────────────────────────────────────────────────────────


def _sync(
    address: Address, password_file: Path | None, settings: Settings, blocking_seconds: float
) -> redis.Redis | Cluster:
    options = _options(settings, blocking_seconds)
    options["retry"] = Retry(NoBackoff(), 0)
    tls = _tls(address, settings)
    if address.kind == "server":
        given = _of_url(parse_url(address.url), password_file)  # type: ignore[no-untyped-call]
        return redis.Redis.from_pool(redis.ConnectionPool(**options, **tls, **given))
    login = _login(address.username, address.password, password_file)
    if address.kind == "sentinel":
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            address.hosts,
            sentinel_kwargs=_of_sentinels(settings, Retry(NoBackoff(), 0), tls, address),
            **_of_master(options, tls, login, address),
        )
        client: redis.Redis = sentinel.master_for(address.service)  # type: ignore[no-untyped-call]
        return client
    while True:
        try:
            return Cluster(address.hosts, ssl=address.tls, **options, **tls, **login)
        except BROKEN as error:
            _log.warning("cluster_away", error=type(error).__name__)
            time.sleep(settings.redis_retry_seconds)


def _async(
    address: Address, password_file: Path | None, settings: Settings, blocking_seconds: float
) -> redis.asyncio.Redis | AsyncCluster:
    options = _options(settings, blocking_seconds)
    options["retry"] = AsyncRetry(NoBackoff(), 0)
    tls = _tls(address, settings)
    if address.kind == "server":
        given = _of_url(dict(parse_async_url(address.url)), password_file)
        return redis.asyncio.Redis.from_pool(
            redis.asyncio.ConnectionPool(**options, **tls, **given)
        )
    login = _login(address.username, address.password, password_file)
    if address.kind == "sentinel":
        sentinel = AsyncSentinel(  # type: ignore[no-untyped-call]
            address.hosts,
            sentinel_kwargs=_of_sentinels(settings, AsyncRetry(NoBackoff(), 0), tls, address),
            **_of_master(options, tls, login, address),
        )
        master: redis.asyncio.Redis = sentinel.master_for(address.service)
        return master
    return AsyncCluster(address.hosts, ssl=address.tls, **options, **tls, **login)


def _options(settings: Settings, blocking_seconds: float = 0.0) -> dict[str, Any]:
    """Options of every connection. Connecting sends few commands, so few permissions suffice."""
    return {
        "socket_connect_timeout": settings.redis_connect_timeout,
        "socket_timeout": settings.redis_timeout + blocking_seconds,
        "health_check_interval": 0,
        "protocol": 3,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "max_connections": _MAX_CONNECTIONS,
    }


def _tls(address: Address, settings: Settings) -> dict[str, Any]:
    """Return the certificate files; the server's certificate and host name are always checked."""
    if not address.tls:
        return {}
    files = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_cert_file,
        "ssl_keyfile": settings.redis_key_file,
    }
    return {name: str(path) for name, path in files.items() if path is not None}


class _PasswordFile(CredentialProvider):
    """A password read for each connection: it may change while the process runs."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the user's name, if there is one, and the password."""
        password = self._path.read_text("utf-8", "replace").strip()
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same; reading a one-line file does not block noticeably."""
        return self.get_credentials()


def _login(username: str | None, password: str | None, file: Path | None) -> dict[str, Any]:
    if file is not None:
        return {"credential_provider": _PasswordFile(username, file)}
    return {"username": username, "password": password}


def _of_url(given: dict[str, Any], file: Path | None) -> dict[str, Any]:
    """Return a plain server's options; the password file takes precedence over the URL."""
    username, password = given.pop("username", None), given.pop("password", None)
    return {**given, **_login(username, password, file)}


def _of_master(
    options: dict[str, Any], tls: dict[str, Any], login: dict[str, Any], address: Address
) -> dict[str, Any]:
    return {**options, **tls, **login, "db": address.db, "ssl": address.tls}


def _of_sentinels(
    settings: Settings, retry: Any, tls: dict[str, Any], address: Address
) -> dict[str, Any]:
    """Options for the Sentinels; timeouts are short, so that one slow Sentinel leaves time to ask
    the others."""
    password = settings.sentinel_password
    return {
        **tls,
        "ssl": address.tls,
        "username": settings.sentinel_username,
        "password": password.get_secret_value() if password else None,
        "socket_connect_timeout": settings.redis_connect_timeout,
        "socket_timeout": settings.redis_connect_timeout,
        "driver_info": None,
        "retry": retry,
    }
