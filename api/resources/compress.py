"""``POST /v1/compress``: a conversation in, the same conversation with fewer tokens out."""

from __future__ import annotations

import time

import falcon
import falcon.asgi
import msgspec
import structlog

from shared.deadline import Deadline
from shared.settings import Settings

from ..flow.compressor import Answer, Compressor
from ..requests import read_body, user_of

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_MIN_DEADLINE_MS = 10


class CompressResource:
    """The main endpoint. Whatever breaks behind it, a well-formed request gets 200."""

    def __init__(self, settings: Settings, compressor: Compressor) -> None:
        self._settings = settings
        self._compressor = compressor

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Compress the body's conversation by the deadline."""
        started = time.perf_counter()
        deadline = Deadline.after(self._seconds(req.get_header("x-headroom-deadline-ms")))
        request_id: str = req.context.request_id
        body = await read_body(req, self._settings.max_body_bytes)
        answer = await self._compressor.compress(
            user_of(req),
            body,
            deadline,
            request_id,
            bypass=(req.get_header("x-headroom-bypass") or "").lower() == "true",
        )
        resp.content_type = falcon.MEDIA_JSON
        resp.data = write(answer)
        _log.info(
            "compressed",
            request_id=request_id,
            model=answer.model,
            messages=answer.messages,
            changed=answer.changed,
            tokens_before=answer.tokens_before,
            tokens_saved=answer.tokens_saved,
            cache_hits=answer.cache_hits,
            cache_misses=answer.cache_misses,
            degraded=answer.degraded,
            ms=round((time.perf_counter() - started) * 1000, 2),
        )

    def _seconds(self, header: str | None) -> float:
        """Return the time there is; the header may only shorten the setting's."""
        limit = self._settings.deadline_ms
        if header and header.isascii() and header.isdigit():
            limit = min(limit, max(_MIN_DEADLINE_MS, int(header[:9])))
        return limit / 1000


def write(answer: Answer) -> bytes:
    """Return the answer's body; the messages go in as the bytes they are."""
    rest = _encode(
        {
            "tokens_before": answer.tokens_before,
            "tokens_after": answer.tokens_after,
            "tokens_saved": answer.tokens_saved,
            "compression_ratio": float(answer.ratio),
            "transforms_applied": answer.transforms,
            "ccr_hashes": answer.hashes,
            "degraded": answer.degraded,
        }
    )
    return b"".join([b'{"messages":[', b",".join(answer.pieces), b"],", rest[1:]])
