"""Middleware of all requests: paths, request ids, errors, start and stop of the process."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import falcon
import falcon.asgi
import msgspec
import structlog

from shared.errors import RequestError

from ..pipeline.compressor import Compressor
from .request import AnswerCut

_log = structlog.get_logger(__name__)
_SLASHES = re.compile("//+")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_REMAINDER_SECONDS = 1.0
_SILENCE_SECONDS = 0.1
_encode = msgspec.json.Encoder().encode


class OneSlash:
    """Treats ``//v1/compress`` as ``/v1/compress``: some clients join URLs as strings."""

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Collapse repeated slashes before routing.

        ``context.raw_path`` is the path as received, percent-encoded, with the same change.
        """
        raw = (req.scope.get("raw_path") or quote(req.path).encode()).decode("latin-1")
        req.context.raw_path = _SLASHES.sub("/", raw) if "//" in raw else raw
        if "//" in req.path:
            req.path = _SLASHES.sub("/", req.path)


class RequestId:
    """Gives every answer an ``x-request-id``: the client's if it is well-formed."""

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Set ``req.context.request_id`` and the header."""
        given = req.get_header("x-request-id")
        known = given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        req.context.request_id = known
        resp.set_header("x-request-id", known)


class Remainder:
    """Reads the rest of a refused body, for a short time.

    The connection is closed after a refusal, and closing it with unread bytes resets it: a client
    that is still sending would get the reset instead of the answer.
    """

    async def process_response(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        resource: object,
        req_succeeded: bool,
    ) -> None:
        """Discard input until no more arrives; not for clients that await ``100 Continue``."""
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
    """A part that runs, or holds connections, for the lifetime of the process."""

    async def start(self) -> None:
        """Start."""

    async def stop(self) -> None:
        """Stop."""


class Lifespan:
    """Starts and stops this process's parts with the server."""

    def __init__(self, compressor: Compressor, parts: Sequence[LifespanPart]) -> None:
        self._compressor = compressor
        self._parts = parts

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Start the parts, and preload what the first request would otherwise wait for."""
        self._compressor.warm_up()
        for part in self._parts:
            await part.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Stop the parts in reverse order."""
        for part in reversed(self._parts):
            await part.stop()


def error_body(kind: str, message: str) -> bytes:
    """Return the contract's error body."""
    return _encode({"error": {"type": kind, "message": message}})


async def error_response(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: RequestError, params: Any
) -> None:
    """Answer an invalid request."""
    resp.status = error.status
    if error.status == 401:
        resp.set_header("www-authenticate", 'Bearer realm="headroom-farm"')
    resp.content_type = falcon.MEDIA_JSON
    resp.data = error_body(error.type, str(error))


async def cut_off(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: AnswerCut, params: Any
) -> None:
    """Let the server close the connection; Falcon would log a defect and answer 500."""
    raise error


def http_error_serializer(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError
) -> None:
    """Give Falcon's own errors (404, 405, ...) the contract's body."""
    resp.content_type = falcon.MEDIA_JSON
    title = error.title or "error"
    number, _, words = title.partition(" ")  # "404 Not Found", or "Invalid parameter"
    kind = (words if number.isdigit() else title).lower().replace(" ", "_")
    resp.data = error_body(kind, error.description or error.title or "error")
