"""``headroom-farm check``: health checks for probes, ``deploy/deploy.sh`` and operators.

``check api`` and ``check worker`` check the process of this container, for a liveness probe.
``check farm`` checks the whole farm, for an operator.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.error
from typing import Any

from shared import clock, keys
from shared.errors import Unhealthy
from shared.redis_connection import BROKEN, connect
from shared.settings import POOLS, Settings
from shared.sockets import authority

from .up_command import LOCAL

_TIMEOUT_SECONDS = 3.0
_POLL_SECONDS = 0.5
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def check_api(settings: Settings) -> str:
    """Check that this container's front end runs.

    Raises:
        Unhealthy: It does not answer.
    """
    host = _ANYWHERE.get(settings.host, settings.host)
    url = f"http://{authority(host, settings.port)}"
    if _get(f"{url}/livez").get("alive") is not True:
        raise Unhealthy(f"{url}/livez was not answered by a headroom-farm")
    return f"{url} lives"


def check_worker(settings: Settings, *, strict: bool) -> str:
    """Look for a fresh heartbeat of this host's worker.

    If Redis does not answer, the worker's state is unknown and a restart would not help, so that
    is a failure only if ``strict``.

    Raises:
        Unhealthy: No worker of this host had a recent heartbeat.
    """
    host = socket.gethostname()
    client = connect(settings)
    names: list[str] = []
    try:
        now: Any = client.time()
        oldest = clock.seconds(now) - keys.WORKER_TTL_SECONDS
        for pool in POOLS:
            seen: Any = client.zrangebyscore(keys.workers(pool), oldest, "+inf")
            ours = keys.worker_names(pool, host)
            names += [name for name in map(bytes.decode, seen) if _beginning(name) == ours]
    except BROKEN as error:
        said = f"Redis does not answer ({type(error).__name__}): the worker's heartbeat is unknown"
        if strict:
            raise Unhealthy(said) from None
        return said
    finally:
        client.close()
    if not names:
        raise Unhealthy(
            f"no worker on {host} had a heartbeat in the last {keys.WORKER_TTL_SECONDS} s"
        )
    return f"{', '.join(names)} lives"


def _beginning(name: str) -> str:
    """Return a worker's name without its process; the host's name itself may contain hyphens."""
    return f"{name.rsplit('-', 2)[0]}-"


def check_farm(url: str, *, provider: str | None, seconds: float) -> str:
    """Wait up to ``seconds`` until the farm is healthy; return a summary.

    Healthy means ready, with a worker in every pool and, if ``provider`` is given, a text engine
    whose batch ran on it.

    Raises:
        Unhealthy: It was not healthy in time; the message says what is missing.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            found = _get(f"{url.rstrip('/')}/readyz")
            missing = _missing(found, provider)
        except Unhealthy as error:
            found, missing = {}, str(error)
        if not missing:
            return json.dumps(found, indent=2)
        if time.monotonic() >= give_up:
            raise Unhealthy(missing)
        time.sleep(_POLL_SECONDS)


def _missing(found: dict[str, Any], provider: str | None) -> str:
    if found.get("status") != "ready":
        return f"not ready: {found.get('reason', 'no reason given')}"
    checks = found.get("checks", {})
    for pool in POOLS:
        if not checks.get(f"{pool}_workers"):
            return f"the pool {pool} has no worker"
    engines = found.get("text_engines", [])
    if provider and not any(engine["provider"] == provider for engine in engines):
        said = ", ".join(f"{e['engine']} on {e['provider']} ({e['reason']})" for e in engines)
        return f"no text engine on {provider}: {said or 'none at all'}"
    return ""


def _get(url: str) -> dict[str, Any]:
    """Return the JSON object at ``url``, whatever the status."""
    try:
        try:
            answer = LOCAL.open(url, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            found = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Unhealthy(f"no answer from {url}: {error}") from None
    return found if isinstance(found, dict) else {}
