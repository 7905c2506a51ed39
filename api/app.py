"""The front end's application: creates the parts, connects them and routes to them."""

from __future__ import annotations

import time

from shared.errors import RequestError
from shared.redis_connection import connect_async, connect_state_async
from shared.settings import Settings, load_settings

from .accounting.comparison import PolicyReport
from .accounting.ledger import Ledger
from .accounting.pool_status import FarmReport
from .accounting.prometheus import Metrics
from .accounting.proxy_counters import ProxyCounters
from .accounting.reports import Reports
from .accounting.token_prices import Prices
from .accounting.usage_reader import Reader
from .accounting.usage_recording import AnswerBook
from .endpoints.compress import CompressResource
from .endpoints.dashboard import DashboardResource
from .endpoints.health import Drain, HealthResource, LiveResource, ReadyResource
from .endpoints.openapi import OpenApiResource
from .endpoints.playground import PlaygroundResource
from .endpoints.retrieve import Originals, RetrieveResource
from .endpoints.stats import (
    FarmResource,
    MetricsResource,
    PolicyResource,
    PricingResource,
    StatsResource,
)
from .endpoints.tool_call import ToolCallResource
from .endpoints.turn import TurnResource
from .endpoints.usage import UsageResource
from .gateway.request_half import RequestHalf
from .gateway.response_half import ResponseHalf
from .http.auth import Authenticator
from .http.middleware import (
    Lifespan,
    OneSlash,
    Remainder,
    RequestId,
    cut_off,
    error_response,
    http_error_serializer,
)
from .http.request import AnswerCut, Application, Intake, Request
from .http.security_headers import SecurityHeaders, cross_origin
from .pipeline.apply_policy import PolicyRules
from .pipeline.compressor import Compressor
from .pipeline.dispatch_jobs import Dispatcher
from .pipeline.earlier_options import EarlierRequests
from .proxy.answer_retrievals import Retrievals
from .proxy.endpoint import Proxy
from .proxy.prepare_request import Preparation
from .proxy.upstream_client import UpstreamClient
from .runtime.bypass import BypassSwitch
from .runtime.policy_reload import PolicySource
from .runtime.quotas import Quotas
from .runtime.redis_guard import RedisGuard
from .runtime.result_inbox import ResultInbox
from .runtime.retrieval_exchange_store import ExchangeStore
from .runtime.retrieval_feedback import Feedback
from .runtime.session_stats import SessionStats
from .runtime.turn_store import TurnStore
from .runtime.user_store import UserStore
from .runtime.worker_view import WorkerView

App = Application


def create_app(settings: Settings | None = None, drain: Drain | None = None) -> App:
    """Return the ASGI application; ``settings`` default to the environment's.

    ``drain`` says when its process is shutting down.
    """
    settings = settings or load_settings()
    queues = RedisGuard(connect_async(settings), settings)
    places = {"redis": queues}
    if settings.state_url is not None:
        places["state"] = RedisGuard(connect_state_async(settings), settings, "state")
    state = places.get("state", queues)
    users = UserStore(settings, state, queues)
    pools = WorkerView(settings, queues)
    replies = ResultInbox(settings, state)
    dispatcher = Dispatcher(settings, state, queues, pools, replies)
    activity = SessionStats(settings, users)
    switch = BypassSwitch(settings, queues)
    policies = PolicySource(settings)
    feedback = Feedback(settings, queues)
    earlier = EarlierRequests(users, settings)
    policy = PolicyRules(policies, Quotas(state), feedback, earlier)
    compressor = Compressor(settings, dispatcher, users, activity, switch, policy)
    started = time.monotonic()
    prices = Prices(settings)
    ledger = Ledger(settings)
    book = AnswerBook(ledger, prices, feedback)
    reader = Reader(settings, queues, state, ledger.settled)
    reports = Reports(settings, reader)
    watched = list(places.values())
    client = UpstreamClient(settings)
    proxied = ProxyCounters()
    metrics = Metrics(settings, reader, ledger, prices, pools, watched, switch, policies, proxied)

    app: App = Application(request_type=Request)
    app.add_middleware(RequestId())
    app.add_middleware([SecurityHeaders(settings), *cross_origin(settings), Remainder()])
    app.add_middleware(OneSlash())
    app.add_middleware(Authenticator(settings))
    app.add_middleware(
        Lifespan(
            compressor,
            [
                *places.values(),
                switch,
                policies,
                feedback,
                pools,
                replies,
                dispatcher,
                compressor.offload,
                prices,
                reader,
                activity,
                ledger,
                metrics,
                client,
                book,
                compressor.behind,
            ],
        )
    )
    app.add_error_handler(RequestError, error_response)
    app.add_error_handler(AnswerCut, cut_off)
    app.set_error_serializer(http_error_serializer)
    turns = TurnStore(settings, state)
    opened = RequestHalf(turns)
    intake = Intake(settings)
    compressing = CompressResource(settings, intake, compressor, opened, ledger, book)
    app.add_route("/v1/compress", compressing)
    app.add_route("/v1/playground", PlaygroundResource(settings, compressor))
    originals = Originals(settings, users, book)
    retrieve = RetrieveResource(originals)
    app.add_route("/v1/retrieve", retrieve)
    app.add_route("/v1/retrieve/tool_call", ToolCallResource(originals))
    app.add_route("/v1/retrieve/{digest}", retrieve, suffix="hash")
    taken_on = ResponseHalf(settings, turns)
    answered = TurnResource(settings, intake, taken_on, originals, book)
    app.add_route("/v1/compress/response", answered)
    app.add_route("/v1/usage", UsageResource(ledger, prices, reader))
    app.add_route("/health", HealthResource())
    app.add_route("/livez", LiveResource())
    drain = drain or Drain()
    ready = ReadyResource(places, pools, prices, switch, policies, started, drain)
    app.add_route("/readyz", ready)
    stats = StatsResource(reports)
    app.add_route("/stats", stats)
    app.add_route("/stats/insights", stats, suffix="insights")
    app.add_route("/stats-history", stats, suffix="history")
    farm = FarmReport(settings, reader, metrics.processes, prices)
    app.add_route("/stats/farm", FarmResource(farm, places, pools, started))
    compared = PolicyReport(reader)
    app.add_route("/stats/policy", PolicyResource(settings, compared, policies, feedback))
    app.add_route("/sessions", stats, suffix="sessions")
    app.add_route("/metrics", MetricsResource(metrics))
    app.add_route("/pricing", PricingResource(prices))
    app.add_route("/openapi.json", OpenApiResource(settings))
    exchanges = ExchangeStore(settings, state)
    preparation = Preparation(settings, compressor, exchanges, book)
    retrievals = Retrievals(settings, users, exchanges, book, proxied)
    proxy = Proxy(settings, intake, client, preparation, retrievals, book, proxied)
    drain.leave_clients = proxy.leave_clients
    app.add_sink(proxy.serve, r"/v1/")
    app.add_sink(proxy.serve, r"/(responses|chat/completions)$")
    dashboard = DashboardResource(settings)
    app.add_route("/", dashboard)
    app.add_route("/dashboard", dashboard)
    app.add_route("/static/{name:path}", dashboard, suffix="file")
    return app
