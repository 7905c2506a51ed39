"""The proxy's routes: model calls are compressed, all other requests are forwarded unchanged."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi
import structlog

from shared.errors import InvalidField, UnsupportedCoding
from shared.settings import Settings

from ..accounting.proxy_counters import ProxyCounters
from ..accounting.usage_recording import AnswerBook
from ..http.auth import is_preflight
from ..http.content_encoding import decoder_for
from ..http.request import AnswerCut, Intake, at_end, user_of
from ..http.security_headers import set_proxied
from ..provider.api_shapes import Shape
from .answer_retrievals import Retrievals
from .client_presence import Presence
from .errors import DRAINING, ProviderName, UpstreamFailed, error_body
from .headers import Headers, to_client, to_upstream
from .prepare_request import Outgoing, Preparation
from .relay_answer import Relay
from .upstream_client import UpstreamAnswer, UpstreamClient
from .upstream_routes import COUNT_TOKENS, Route, Routes, ambiguous, is_ours

_log = structlog.get_logger(__name__)
_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
"""What the answer to a browser's preflight request allows on the providers' paths."""


class Proxy:
    """Serves all paths that are not the farm's own, as a sink of the Falcon application."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        client: UpstreamClient,
        preparation: Preparation,
        retrievals: Retrievals,
        book: AnswerBook,
        counters: ProxyCounters,
    ) -> None:
        self._counters = counters
        self._routes = Routes(settings)
        self._intake = intake
        self._client = client
        self._preparation = preparation
        self._retrievals = retrievals
        self._book = book
        self._waiting: set[Presence] = set()

    def leave_clients(self) -> None:
        """End all open model calls: the front end ends and cannot wait for their answers."""
        for presence in list(self._waiting):
            presence.leave()

    async def serve(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response | None, ws: Any = None, **_: Any
    ) -> None:
        """Answer with the provider's answer.

        The farm's server does not open WebSockets; another one's have no ``resp``, but a ``ws``.
        """
        if resp is None:
            raise falcon.HTTPNotFound
        if is_preflight(req):
            resp.set_header("allow", _METHODS)
            return
        raw_path: str = req.context.raw_path
        if (req.path.startswith("/v1/") and is_ours(req.path)) or ambiguous(req.path, raw_path):
            raise falcon.HTTPNotFound
        route = self._routes.find(
            req.method, req.path, raw_path, req.query_string, _is_anthropic(req)
        )
        if not route.url:
            message = f"this provider is not configured: {route.variable} is not set"
            _fail(resp, route.provider, falcon.HTTP_404, "not_configured", message)
            return
        if req.method == "GET" and (req.get_header("upgrade") or "").lower() == "websocket":
            # Clients that prefer WebSockets, such as Codex, go on without on this status.
            message = "the farm does not forward WebSocket connections"
            resp.set_header("upgrade", "HTTP/1.1")
            _fail(resp, route.provider, falcon.HTTP_426, "websocket_unsupported", message)
            return
        try:
            if route.shape is None or not _readable(req):
                await self._pass_on(req, resp, route)
            else:
                await self._call_model(req, resp, route, route.shape)
        except UpstreamFailed as error:
            if error.kind != DRAINING:
                self._failed(route.provider, error.kind)
            _fail(resp, route.provider, str(error.status), error.kind, str(error))

    async def _pass_on(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, route: Route
    ) -> None:
        """Forward the request and the answer unchanged, without buffering them."""
        headers = to_upstream(req.scope["headers"], without=_spent(req))
        body = None
        if req.content_length is not None:
            headers.append(("content-length", str(req.content_length)))
        if req.content_length or req.get_header("transfer-encoding"):
            body = _arriving(req)
        try:
            answer = await self._client.send(req.method, route.url, headers, body)
        except UpstreamFailed:
            if req.context.arrival.left:  # not the provider's fault
                raise AnswerCut from None
            raise
        at_end(req, answer.close)
        presence = Presence(req) if req.context.arrival.whole or body is None else None
        _answer(resp, answer, [], _passed(answer, presence))

    async def _call_model(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, route: Route, shape: Shape
    ) -> None:
        started = time.perf_counter()
        raw, lease = await self._intake.body(req)
        presence = Presence(req)
        self._waiting.add(presence)
        at_end(req, lambda: self._waiting.discard(presence))
        counts = route.path == COUNT_TOKENS
        outgoing = await presence.unless_gone(
            self._preparation.prepare(req, shape.requests, raw, lease, counted=not counts)
        )
        spent = (*_spent(req), "content-encoding", "accept-encoding")
        headers = to_upstream(req.scope["headers"], without=spent)
        headers.append(("accept-encoding", "identity"))

        async def send(body: bytes) -> UpstreamAnswer:
            answer = await self._client.send("POST", route.url, headers, body)
            at_end(req, answer.close)
            return answer

        added = time.perf_counter() - started
        recording = outgoing.recording
        if recording is not None:
            recording.write_when_sent()
        answer = await presence.unless_gone(send(outgoing.body))
        waited = time.perf_counter() - started - added
        if recording is not None:  # before the client has an answer
            recording.write_now()
        self._counters.answered(route.provider, answer.status, added, waited)
        self._counters.open_streams += 1
        at_end(req, lambda: self._ended(req, route, answer, added, waited))
        relay = Relay(
            presence,
            outgoing,
            self._retrievals,
            user_of(req),
            route.provider,
            shape,
            send,
            lambda kind: self._failed(route.provider, kind),
        )
        if answer.status == 200 and not counts:
            at_end(req, lambda: self._note_usage(req, outgoing, relay))
        if not outgoing.serves or answer.status != 200 or counts:
            _answer(resp, answer, outgoing.headers, relay.pass_on(answer))
            return
        answer.decode()
        if not answer.is_stream and outgoing.streams:
            await presence.unless_gone(answer.find_stream())
        if answer.is_stream:
            _answer(resp, answer, outgoing.headers, relay.stream(answer), changed=True)
        else:
            answer, body = await relay.whole(answer)
            _answer(resp, answer, outgoing.headers, None, changed=True)
            resp.data = body

    def _ended(
        self,
        req: falcon.asgi.Request,
        route: Route,
        answer: UpstreamAnswer,
        added: float,
        waited: float,
    ) -> None:
        """Count and log a model call whose answer has been sent, or was cut."""
        self._counters.open_streams -= 1
        _log.info(
            "proxied",
            request_id=req.context.request_id,
            path=route.path,
            status=answer.status,
            stream=answer.is_stream,
            added_ms=round(added * 1000, 2),
            upstream_ms=round(waited * 1000, 2),
        )

    def _failed(self, provider: ProviderName, kind: str) -> None:
        self._counters.failed(provider, kind)
        _log.warning("upstream_failed", provider=provider, kind=kind)

    def _note_usage(self, req: falcon.asgi.Request, outgoing: Outgoing, relay: Relay) -> None:
        """Record the usage that the provider reported for the request."""
        usage = relay.usage()
        if not usage or outgoing.result is None:
            return
        request_id = req.context.request_id
        try:
            self._book.billed(user_of(req), request_id, outgoing.result.model, usage)
        except InvalidField:
            _log.warning("usage_unreadable", request_id=request_id)


async def _passed(answer: UpstreamAnswer, presence: Presence | None) -> AsyncIterator[bytes]:
    """Yield the answer's bytes as they arrive.

    Raises:
        AnswerCut: the provider's answer is incomplete, or the client has disconnected.
    """
    if presence is not None:
        presence.when_gone(answer.close)
    try:
        async for chunk in answer.chunks():
            yield chunk
    except UpstreamFailed:
        raise AnswerCut from None


async def _arriving(req: falcon.asgi.Request) -> AsyncIterator[bytes]:
    """Yield the body's chunks.

    Raises:
        AnswerCut: it is incomplete. The provider's connection is then closed: if the request ended
            in the usual way, the provider would take what came for the whole.
    """
    async for chunk in req.stream:
        yield chunk
    if req.context.arrival.left:
        raise AnswerCut


def _answer(
    resp: falcon.asgi.Response,
    answer: UpstreamAnswer,
    more: Headers,
    stream: AsyncIterator[bytes] | None,
    *,
    changed: bool = False,
) -> None:
    resp.status = str(answer.status)
    set_proxied(resp)
    for name, value in [*to_client(answer.headers, changed=changed), *more]:
        resp.append_header(name, value)
    if stream is not None:
        resp.stream = stream


def _fail(
    resp: falcon.asgi.Response, provider: ProviderName, status: str, kind: str, message: str
) -> None:
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = error_body(provider, kind, message)


def _readable(req: falcon.asgi.Request) -> bool:
    """Return whether the body is JSON in a content coding that the farm supports."""
    kind = (req.content_type or "").split(";", 1)[0].strip().lower()
    try:
        decoder_for(req.get_header("content-encoding"))
    except UnsupportedCoding:
        return False
    return kind == falcon.MEDIA_JSON


def _is_anthropic(req: falcon.asgi.Request) -> bool:
    return any(req.get_header(name) for name in ("anthropic-version", "x-api-key"))


def _spent(req: falcon.asgi.Request) -> tuple[str, ...]:
    """Return the header with the farm's own token, which must not be forwarded."""
    return ("authorization",) if req.context.spent_authorization else ()
