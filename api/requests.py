"""What every endpoint reads of a request in the same way: whose it is, and its body."""

from __future__ import annotations

import re
from typing import Any

import falcon
import falcon.asgi
import msgspec

from shared.errors import BodyTooLarge, MalformedBody, NotJson

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, level 1."""


def user_of(req: falcon.asgi.Request) -> str:
    """Return whose request this is, as :class:`api.access.Access` found it."""
    user: str = req.context.user
    return user


def trace_of(req: falcon.asgi.Request) -> str:
    """Return the request's W3C ``traceparent``, empty where it has none that is valid."""
    given = req.get_header("traceparent") or ""
    return given if _TRACEPARENT.fullmatch(given) else ""


async def read_body(req: falcon.asgi.Request, limit: int) -> bytes:
    """Return the body, at most ``limit`` bytes of it.

    Raises:
        NotJson: the content type is something else.
        BodyTooLarge: there is more.
    """
    kind = (req.content_type or falcon.MEDIA_JSON).split(";", 1)[0].strip().lower()
    if kind != falcon.MEDIA_JSON and not kind.endswith("+json"):
        raise NotJson("the content type must be application/json")
    if (req.content_length or 0) > limit:
        raise BodyTooLarge(f"the body is over {limit} bytes")
    chunks = []
    size = 0
    async for chunk in req.stream:
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_json(req: falcon.asgi.Request, limit: int) -> Any:
    """Return the body decoded.

    Raises:
        MalformedBody: it is not JSON.
        NotJson, BodyTooLarge: as :func:`read_body`.
    """
    try:
        return msgspec.json.decode(await read_body(req, limit))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedBody("the body is not valid JSON") from None
