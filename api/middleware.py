"""What happens around every request: paths, errors, start and stop."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import falcon
import falcon.asgi
import msgspec
import structlog

from shared.errors import RequestError

from .books.ledger import Ledger
from .books.pricing import Prices
from .books.reader import Reader
from .flow.compressor import Compressor
from .flow.dispatch import Dispatcher

_log = structlog.get_logger(__name__)
_SLASHES = re.compile("//+")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
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


class Lifespan:
    """Starts and stops this process's connections with the server."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        compressor: Compressor,
        ledger: Ledger,
        reader: Reader,
        prices: Prices,
    ) -> None:
        self._prices = prices
        self._dispatcher = dispatcher
        self._compressor = compressor
        self._ledger = ledger
        self._reader = reader

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Open what requests need, and load what the first one would wait for."""
        self._compressor.warm_up()
        await self._dispatcher.start()
        await self._ledger.start()
        await self._prices.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Close it again."""
        await self._ledger.stop()
        await self._reader.stop()
        await self._prices.stop()
        await self._dispatcher.stop()


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
