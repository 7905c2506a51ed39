"""A request as the provider gets it: compressed, its other bytes as they came."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import falcon.asgi
import structlog

from shared import keys, logs
from shared.errors import RequestError
from shared.settings import Settings
from shared.tracing import tracer

from ..accounting.answer_book import AnswerBook
from ..accounting.usage_record import AnsweredRequest
from ..http.request import deadline_of, trace_of, user_of
from ..pipeline.compressor import Compressor
from ..pipeline.dispatch import Origin
from ..pipeline.result import CompressionResult
from ..provider.body import Body, Unreadable
from ..provider.protocol import Provider
from ..provider.session import session_of

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes to the provider. ``result`` is None where the body could not be read."""

    body: bytes
    stream: bool
    result: CompressionResult | None = None
    session: str = ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What the client's answer says of it."""
        if self.result is None:
            return []
        return [
            ("x-headroom-tokens-before", str(self.result.tokens_before)),
            ("x-headroom-tokens-after", str(self.result.tokens_after)),
            ("x-headroom-tokens-saved", str(self.result.tokens_saved)),
        ]


class Preparation:
    """Compresses what clients send, by the same pipeline as ``/v1/compress``."""

    def __init__(self, settings: Settings, compressor: Compressor, book: AnswerBook) -> None:
        self._settings = settings
        self._compressor = compressor
        self._book = book

    async def prepare(
        self, req: falcon.asgi.Request, shape: Provider, raw: bytes, *, counted: bool
    ) -> Outgoing:
        """Return the request for the provider; whatever fails, that is the original.

        ``counted``: the request goes to the books.
        """
        try:
            body = Body(raw)
            redeems = shape.offers(raw)
        except Unreadable:
            return Outgoing(raw, stream=b'"stream"' in raw)
        stream = body.field("stream") == b"true"
        session = session_of(req.get_header, body)
        # A client that leaves ends its request, not its usage record.
        task = asyncio.create_task(
            self._compress(req, raw, redeems, session, counted=counted), name="prepare"
        )
        try:
            result = await asyncio.shield(task)
        except RequestError:  # the provider says what is wrong with it
            return Outgoing(raw, stream)
        except Exception as error:  # a defect of ours must not cost a user the answer
            _log.error("prepare_failed", error=type(error).__name__, at=logs.frames(error))
            return Outgoing(raw, stream)
        if result.array != shape.array:
            return Outgoing(raw, stream)
        sent = raw
        if result.changed:
            sent = body.replaced({shape.array: b"[" + b",".join(result.pieces) + b"]"})
        return Outgoing(sent, stream, result, session)

    async def _compress(
        self,
        req: falcon.asgi.Request,
        raw: bytes,
        redeems: bool,
        session: str,
        *,
        counted: bool,
    ) -> CompressionResult:
        started = time.perf_counter()
        user, request_id = user_of(req), req.context.request_id
        with tracer.span("proxy", trace_of(req), request_id=request_id) as trace:
            result = await self._compressor.compress(
                user,
                raw,
                deadline_of(req, self._settings),
                Origin(request_id, trace, keys.user_tag(keys.tenant_of(user))),
                bypass=(req.get_header("x-headroom-bypass") or "").lower() == "true",
                redeems=redeems,
                session=session,
            )
        if counted:
            request = AnsweredRequest(request_id, user, time.perf_counter() - started)
            self._book.record(request, result)
        return result
