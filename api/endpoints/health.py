"""``/health``, ``/livez``, ``/readyz``: whether the process runs, and whether it can serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import falcon
import falcon.asgi
import msgspec

from shared.headroom import ENGINE_VERSION

from ..accounting.token_prices import Prices
from ..runtime.background_tasks import health
from ..runtime.bypass import BypassSwitch
from ..runtime.policy_reload import PolicySource
from ..runtime.redis_guard import RedisGuard
from ..runtime.worker_view import WorkerView

SERVICE = "headroom-farm"


class Drain:
    """Whether this process is draining (see api/server/drain.py).

    ``leave_clients`` is called when it cannot wait for open streams any longer.
    """

    def __init__(self) -> None:
        self.asked = False
        self.leave_clients: Callable[[], None] = lambda: None


class HealthResource:
    """200 while the process runs."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/health``."""
        resp.media = {"status": "ok", "service": SERVICE}


class LiveResource:
    """200 while the process can continue, in the form that headroom's own clients expect.

    503, with ``reason``, if an essential task failed for good: the process is shutting down.
    """

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/livez``."""
        failed = health.given_up
        resp.media = {
            "status": "healthy" if failed is None else "unhealthy",
            "alive": failed is None,
            "service": SERVICE,
            "version": ENGINE_VERSION,
        }
        if failed is not None:
            resp.status = falcon.HTTP_503
            resp.media["reason"] = f"the task '{failed}' keeps failing"


class ReadyResource:
    """200 if blocks can be compressed through this process, else 503 with the reason."""

    def __init__(
        self,
        places: Mapping[str, RedisGuard],
        pools: WorkerView,
        prices: Prices,
        switch: BypassSwitch,
        policies: PolicySource,
        started: float,
        drain: Drain,
    ) -> None:
        self._prices = prices
        self._switch = switch
        self._policies = policies
        self._places = places
        self._pools = pools
        self._started = started
        self._drain = drain

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Check Redis and both pools."""
        await asyncio.gather(*[place.check() for place in self._places.values()])
        away = [name for name, place in self._places.items() if not place.serves]
        alive = self._pools.alive
        checks = {
            **{name: place.condition for name, place in self._places.items()},
            **{f"{pool}_workers": count for pool, count in alive.items()},
        }
        bypass = self._switch.bypass
        # With the bypass on, neither Redis nor a worker is needed.
        serves = bypass is not None or (not away and any(alive.values()))
        ready = serves and not self._drain.asked
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503
        resp.media = {
            "status": "ready" if ready else "not_ready",
            "db": self._prices.state,
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "checks": checks,
            "bypass": msgspec.to_builtins(bypass),
            "policy": self._policies.state,
            "breakers": [
                reading._asdict() for place in self._places.values() for reading in place.readings
            ],
            "text_engines": [
                {**status._asdict(), "workers": count}
                for status, count in self._pools.text_engines.items()
            ],
        }
        if not ready:
            reason = away[0] if away else "no_workers"
            resp.media["reason"] = "draining" if self._drain.asked else reason
