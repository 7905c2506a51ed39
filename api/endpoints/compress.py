"""``POST /v1/compress``: a conversation in, the same conversation with fewer tokens out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import falcon
import falcon.asgi
import msgspec
import structlog

from shared import keys
from shared.deadline import Deadline
from shared.errors import RequestError
from shared.settings import Settings
from shared.tracing import trace_id, tracer

from ..accounting.ledger import Ledger
from ..accounting.usage_record import AnsweredRequest, refused
from ..accounting.usage_recording import AnswerBook
from ..gateway.gateway_request import gateway_request
from ..gateway.request_half import FirstHalf, RequestHalf
from ..http.request import BodyLease, Intake, asks_bypass, deadline_of, trace_of, user_of
from ..pipeline.compression_result import CompressionResult
from ..pipeline.compressor import Compressor
from ..pipeline.dispatch_jobs import Origin
from ..provider.body import array_pieces

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class CompressResource:
    """The main endpoint. A well-formed request gets 200, even if another part of the farm fails."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        compressor: Compressor,
        turns: RequestHalf,
        ledger: Ledger,
        book: AnswerBook,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._compressor = compressor
        self._turns = turns
        self._ledger = ledger
        self._book = book

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Compress the body's conversation by the deadline."""
        started = time.perf_counter()
        deadline = deadline_of(req, self._settings)
        try:
            body, lease = await self._intake.body(req)
            # If the client disconnects, the request ends, but its usage is still recorded.
            task = asyncio.create_task(
                self._answer(req, body, lease, deadline, started), name="answer"
            )
            lease.held_by(task)
            answer, half = await asyncio.shield(task)
        except RequestError as error:
            self._ledger.record(refused(error.type))
            raise
        resp.content_type = falcon.MEDIA_JSON
        resp.data = write(answer, self._settings, **half.fields)

    async def _answer(
        self,
        req: falcon.asgi.Request,
        body: bytes,
        lease: BodyLease,
        deadline: Deadline,
        started: float,
    ) -> tuple[CompressionResult, FirstHalf]:
        user: str = user_of(req)
        request_id: str = req.context.request_id
        known = self._compressor.sessions.read_before(user, body)
        gateway = gateway_request(body, self._settings.turn_max_bytes, known)
        parent = trace_of(req)
        with tracer.span("compress", parent, request_id=request_id) as trace:
            answer = await self._compressor.compress(
                user,
                body,
                deadline,
                Origin(request_id, trace, keys.user_tag(keys.tenant_of(user))),
                bypass=asks_bypass(req),
                redeems=gateway.redeems if gateway is not None else None,
                session=req.get_header("x-headroom-session-id") or "",
            )
            if answer.behind is not None:
                lease.held_by(answer.behind)
            half = FirstHalf({})
            if gateway is not None:
                half = await self._turns.open(user, gateway, answer, deadline)
                answer.transforms += half.transforms
                answer.degraded += [why for why in half.degraded if why not in answer.degraded]
        seconds = time.perf_counter() - started
        self._book.record(AnsweredRequest(request_id, user, seconds), answer)
        _log.info(
            "compressed",
            request_id=request_id,
            trace_id=trace_id(parent),
            model=answer.model,
            messages=answer.messages,
            changed=answer.changed,
            tokens_before=answer.tokens_before,
            tokens_saved=answer.tokens_saved,
            cache_hits=answer.cache_hits,
            cache_misses=answer.cache_misses,
            degraded=answer.degraded,
            ms=round(seconds * 1000, 2),
        )
        return answer, half


def write(answer: CompressionResult, settings: Settings, **more: Any) -> bytes:
    """Return the answer's body: messages as raw bytes, the other fields, then ``more``."""
    if answer.session is not None:
        more["session"] = answer.session
    if answer.warnings:
        more["warnings"] = answer.warnings
    ratio = answer.ratio if settings.ratio == "saved" else answer.kept
    rest = _encode(
        {
            "tokens_before": answer.tokens_before,
            "tokens_after": answer.tokens_after,
            "tokens_saved": answer.tokens_saved,
            "compression_ratio": float(ratio),
            "transforms_applied": answer.transforms,
            "ccr_hashes": answer.hashes,
            "degraded": answer.degraded,
            **more,
        }
    )
    head = b'{"%b":' % answer.array.encode()
    return b"".join([head, *array_pieces(answer.pieces), b",", rest[1:]])
