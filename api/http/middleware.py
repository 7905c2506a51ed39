"""What happens around every request: paths, errors, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import falcon
import falcon.asgi
import msgspec
import structlog

from shared.errors import RequestError

from ..pipeline.compressor import Compressor

_log = structlog.get_logger(__name__)
_SLASHES = re.compile("//+")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_REMAINDER_SECONDS = 1.0
_SILENCE_SECONDS = 0.1
_encode = msgspec.json.Encoder().encode


class OneSlash:
    """Callers join URLs by string, so ``//v1/compress`` is ``/v1/compress``."""

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Collapse repeated slashes before routing."""
        if "//" in req.path:
            req.path = _SLASHES.sub("/", req.path)


class RequestId:
    """Gives every answer an ``x-request-id``: the caller's where it is a plain one."""

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Set ``req.context.request_id`` and the header."""
        given = req.get_header("x-request-id")
        known = given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        req.context.request_id = known
        resp.set_header("x-request-id", known)


class Remainder:
    """Takes what is left of a refused body, for a moment.

    The connection is closed after a refusal, and closing it on bytes that were sent and
    not read resets it: a client that is still sending would see that and not the answer.
    """

    async def process_response(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        resource: object,
        req_succeeded: bool,
    ) -> None:
        """Read on and forget until the client falls silent; ask none that waits to be asked."""
        if req_succeeded or req.get_header("expect"):
            return
        if not (req.content_length or req.get_header("transfer-encoding")):
            return
        end = time.monotonic() + _REMAINDER_SECONDS
        came = -1
        while req.stream.tell() > came and time.monotonic() < end:
            came = req.stream.tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await req.stream.exhaust()
                    return


class LifespanPart(Protocol):
    """What runs, or holds connections, as long as the process serves."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""


class Lifespan:
    """Starts and stops this process's parts with the server."""

    def __init__(self, compressor: Compressor, parts: Sequence[LifespanPart]) -> None:
        self._compressor = compressor
        self._parts = parts

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Open what requests need, and load what the first one would wait for."""
        self._compressor.warm_up()
        for part in self._parts:
            await part.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Close it again, last first."""
        for part in reversed(self._parts):
            await part.stop()


def error_body(kind: str, message: str) -> bytes:
    """Return the contract's error body."""
    return _encode({"error": {"type": kind, "message": message}})


async def error_response(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: RequestError, params: Any
) -> None:
    """Answer a caller's mistake."""
    resp.status = error.status
    if error.status == 401:
        resp.set_header("www-authenticate", 'Bearer realm="headroom-farm"')
    resp.content_type = falcon.MEDIA_JSON
    resp.data = error_body(error.type, str(error))


def http_error_serializer(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError
) -> None:
    """Give Falcon's own errors (404, 405, ...) the contract's body."""
    resp.content_type = falcon.MEDIA_JSON
    kind = (error.title or "error").split(" ", 1)[-1].lower().replace(" ", "_")
    resp.data = error_body(kind, error.description or error.title or "error")
