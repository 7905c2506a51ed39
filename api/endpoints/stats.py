"""Usage reports over HTTP: savings, sessions, prices, and metrics for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Mapping

import falcon
import falcon.asgi
from prometheus_client import CONTENT_TYPE_LATEST

from shared.errors import Degraded, InvalidField, Unavailable
from shared.settings import Settings

from ..accounting.comparison import PolicyReport
from ..accounting.pool_status import FarmReport
from ..accounting.prometheus import Metrics
from ..accounting.reports import MAX_SESSIONS_SHOWN, Question, Reports
from ..accounting.request_cost import per_mtok, rates_of
from ..accounting.time_range import TimeRange
from ..accounting.token_prices import Prices
from ..runtime.policy_reload import PolicySource
from ..runtime.redis_guard import RedisGuard
from ..runtime.retrieval_feedback import Feedback
from ..runtime.worker_view import WorkerView


class StatsResource:
    """Savings by time, user and model."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/stats``."""
        resp.media = await self._reports.stats(_question(req))

    async def on_get_insights(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/stats/insights``."""
        resp.media = await self._reports.insights(_question(req))

    async def on_get_history(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/stats-history``."""
        resp.media = await self._reports.history(_question(req))

    async def on_get_sessions(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/sessions``, most recent first; ``?limit=`` bounds their number."""
        limit = req.get_param("limit") or "100"
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= MAX_SESSIONS_SHOWN):
            raise InvalidField(f"'limit' must be a whole number from 1 to {MAX_SESSIONS_SHOWN}")
        resp.media = await self._reports.sessions(int(limit))


class FarmResource:
    """State and load of pools and front ends."""

    def __init__(
        self,
        report: FarmReport,
        places: Mapping[str, RedisGuard],
        pools: WorkerView,
        started: float,
    ) -> None:
        self._report = report
        self._places = places
        self._pools = pools
        self._started = started

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/stats/farm``, even while parts of the farm are failing."""
        body = await self._report.read(_question(req).window)
        resp.media = {
            **body,
            "stores": {name: place.condition for name, place in self._places.items()},
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "text_engines": [
                {**status._asdict(), "workers": count}
                for status, count in self._pools.text_engines.items()
            ],
        }


class PolicyResource:
    """Comparison of the policy's groups."""

    def __init__(
        self,
        settings: Settings,
        report: PolicyReport,
        policies: PolicySource,
        feedback: Feedback,
    ) -> None:
        self._settings = settings
        self._report = report
        self._policies = policies
        self._feedback = feedback

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/stats/policy``."""
        body = await self._report.read(_question(req).window)
        try:
            await self._feedback.settle()
            observed = await self._feedback.observed()
        except Degraded:
            raise Unavailable("feedback cannot be read at the moment") from None
        resp.media = {
            **body,
            "policy": self._policies.state,
            "feedback": {
                "rate": self._settings.feedback_rate,
                "sample": self._settings.feedback_sample,
                "pause_seconds": self._settings.feedback_pause_seconds,
                "paused": [pause._asdict() for pause in self._feedback.pauses],
                "observed": observed,
            },
        }


class PricingResource:
    """Prices of models, and their source."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/pricing``; ``?model=`` returns one model's prices and their source row."""
        body = self._prices.snapshot()
        model = req.get_param("model")
        if model is not None:
            price = self._prices.price_of(model)
            rates = rates_of(model, price)
            body["asked"] = {
                "model": model,
                "row": price.row,
                "per_mtok": float(price.per_mtok),
                "fallback": price.fallback,
                "source": price.source,
                "cache_read_per_mtok": per_mtok(rates.read),
                "cache_write_per_mtok": per_mtok(rates.write),
                "cache_write_1h_per_mtok": per_mtok(rates.write_1h),
            }
        resp.media = body


class MetricsResource:
    """Metrics for Prometheus."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer ``/metrics``, even while parts of the farm are failing."""
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = await self._metrics.text()


def _question(req: falcon.asgi.Request) -> Question:
    window = TimeRange.parse(req.get_param("range"), req.get_param("since"), req.get_param("until"))
    daily = req.get_param_as_bool("daily") or False
    return Question(window, req.get_param("user"), req.get_param("model"), daily)
