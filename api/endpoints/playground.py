"""``POST /v1/playground``: the real compressor, with a trace of the request's path through it."""

from __future__ import annotations

import time

import falcon
import falcon.asgi
import structlog

from shared import keys
from shared.deadline import Deadline
from shared.errors import InvalidField
from shared.settings import Settings
from shared.tracing import trace_id

from ..http.request import SMALL_BODY_BYTES, read_body, sandbox_of, trace_of
from ..pipeline.compressor import Compressor
from ..pipeline.dispatch_jobs import Origin
from ..pipeline.trace import Trace
from .compress import write

_log = structlog.get_logger(__name__)


class PlaygroundResource:
    """Compresses as ``/v1/compress`` does, in a sandbox, without a usage record.

    The sandbox (:func:`api.http.request.sandbox_of`) has a session cache and originals of its own,
    which ``/v1/retrieve`` returns for the same header.
    """

    def __init__(self, settings: Settings, compressor: Compressor) -> None:
        self._settings = settings
        self._compressor = compressor

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Compress the body's conversation by the deadline and return the trace too."""
        started = time.perf_counter()
        deadline = Deadline.after(self._settings.deadline_ms / 1000)
        sandbox = sandbox_of(req)
        if sandbox is None:
            raise InvalidField("'x-headroom-playground' must identify the page")
        body = await read_body(req, min(SMALL_BODY_BYTES, self._settings.max_body_bytes))
        trace = Trace()
        tenant = keys.user_tag(keys.tenant_of(sandbox))
        origin = Origin(req.context.request_id, trace_of(req), tenant)
        answer = await self._compressor.compress(sandbox, body, deadline, origin, trace=trace)
        spent = (time.perf_counter() - started) * 1000
        _log.info(
            "playground",
            request_id=req.context.request_id,
            trace_id=trace_id(trace_of(req)),
            tokens_before=answer.tokens_before,
            tokens_saved=answer.tokens_saved,
            degraded=answer.degraded,
            ms=round(spent, 2),
        )
        resp.content_type = falcon.MEDIA_JSON
        resp.data = write(
            answer,
            self._settings,
            playground=True,
            trace={
                "total_ms": spent,
                "stages_ms": trace.stages,
                "cache_hits": answer.cache_hits,
                "cache_misses": answer.cache_misses,
                "reason_for_nothing": answer.reason,
                "messages": trace.messages,
            },
        )
