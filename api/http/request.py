"""Reads a request's user, deadline and body, in the same way for all endpoints."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import falcon
import falcon.asgi
import msgspec
from falcon.request import RequestOptions

from shared.deadline import Deadline
from shared.errors import (
    UNREADABLE_JSON,
    BodyTooLarge,
    FarmError,
    InvalidField,
    MalformedBody,
    NotJson,
    Unavailable,
)
from shared.settings import Settings

from .content_encoding import PIECE_BYTES, decoder_for

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, level 1."""
_PAGE = re.compile("[A-Za-z0-9-]{1,64}")
SMALL_BODY_BYTES = 1 << 20
PLAYGROUND = "playground"
"""Prefix of a sandbox's name."""
ARRIVED = "headroom_farm.arrived"
"""Key in a request's ASGI scope: ``time.monotonic()`` when its head had arrived."""
_AT_END = "headroom_farm.at_end"
"""Key in a request's ASGI scope: functions that :class:`Application` calls when it is over."""
AsgiEvent = Mapping[str, Any]
_MIN_DEADLINE_MS = 10


class AnswerCut(FarmError):
    """An answer is incomplete; its connection is closed so that the client notices."""


def user_of(req: falcon.asgi.Request) -> str:
    """Return the request's user, as determined by :class:`api.http.auth.Authenticator`."""
    user: str = req.context.user
    return user


def sandbox_of(req: falcon.asgi.Request) -> str | None:
    """Return the request's playground sandbox as a user name; None if it has none.

    Each pair of page and user has a separate sandbox. A client cannot name it as a user, because
    user names have no control characters (:mod:`api.http.auth`).

    Raises:
        InvalidField: The header is not a valid page id.
    """
    page = req.get_header("x-headroom-playground")
    if page is None:
        return None
    if not _PAGE.fullmatch(page):
        raise InvalidField("'x-headroom-playground' must be 1 to 64 letters, digits or hyphens")
    return f"{PLAYGROUND}\t{page}\t{user_of(req)}"


def deadline_of(req: falcon.asgi.Request, settings: Settings) -> Deadline:
    """Return the request's deadline; its header can only shorten the configured time."""
    limit, header = settings.deadline_ms, req.get_header("x-headroom-deadline-ms")
    if header and header.isascii() and header.isdigit():
        limit = min(limit, max(_MIN_DEADLINE_MS, int(header[:9])))
    return Deadline.after(limit / 1000, req.scope.get(ARRIVED))


def asks_bypass(req: falcon.asgi.Request) -> bool:
    """Return whether the request's header asks for unchanged messages."""
    return (req.get_header("x-headroom-bypass") or "").lower() == "true"


def at_end(req: falcon.asgi.Request, call: Callable[[], None]) -> None:
    """Call ``call`` when the request is over: its answer was sent, or it was aborted."""
    req.scope.setdefault(_AT_END, []).append(call)


def trace_of(req: falcon.asgi.Request) -> str:
    """Return the request's W3C ``traceparent``, empty if it has no valid one."""
    given = req.get_header("traceparent") or ""
    return given if _TRACEPARENT.fullmatch(given) else ""


class _Arrival:
    """Receives a body's events, and records whether its end has arrived, or the client has left."""

    def __init__(
        self, receive: Callable[[], Awaitable[AsgiEvent]], first: AsgiEvent | None
    ) -> None:
        self._receive = receive
        self.whole = first is not None and _ends(first)
        self.left = False

    async def __call__(self) -> AsgiEvent:
        event = await self._receive()
        self.whole = self.whole or _ends(event)
        self.left = self.left or event["type"] == "http.disconnect"
        return event


def _ends(event: AsgiEvent) -> bool:
    return bool(event["type"] == "http.request" and not event.get("more_body", False))


class Request(falcon.asgi.Request):
    """A request that distinguishes a complete body from one that was cut off.

    Falcon's stream ends in the same way for both, and a chunked body has no length to compare:
    ``context.arrival.whole`` says whether the server saw its last chunk, ``left`` whether the
    client disconnected (while the body was read: before its end).
    """

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Any,
        first_event: Any = None,
        options: RequestOptions | None = None,
    ) -> None:
        arrival = _Arrival(receive, first_event)
        super().__init__(scope, arrival, first_event=first_event, options=options)
        self.context.arrival = arrival


class Application(falcon.asgi.App[Request, falcon.asgi.Response]):
    """Falcon's application, with callbacks at the end of each request (:func:`at_end`)."""

    async def __call__(  # type: ignore[override]  # as falcon.asgi.App has it
        self, scope: dict[str, Any], receive: Any, send: Any
    ) -> None:
        """Serve one request; ``send`` waits while the client reads slowly."""
        try:
            await super().__call__(scope, receive, send)
        except AnswerCut:
            pass  # the server closes the connection of an incomplete answer
        finally:
            for tell in scope.get(_AT_END, ()):
                tell()


class BodyLease:
    """A body's share of the budget, held by its request and by the tasks that use the body."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self._holders = 1

    def held_by(self, task: asyncio.Task[Any]) -> None:
        """Keep the share also until ``task`` is done."""
        self._holders += 1
        task.add_done_callback(lambda _: self.release())

    def release(self) -> None:
        """Release one holder's reference; the last one returns the share to the budget."""
        self._holders -= 1
        if not self._holders:
            self._give_back()


class Intake:
    """Reads request bodies within two limits: the decoded size of each, and the memory of all.

    ``HEADROOM_BODIES_BYTES`` limits the memory of the large bodies that this process holds, from
    their first byte until the answer has been sent and no task uses them. An answer is counted
    with the size of its body. A large body beyond the limit is refused at once; small ones never
    are, so large bodies cannot block them. A process has one, for all its endpoints.
    """

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.max_body_bytes
        self._free_bytes = settings.bodies_bytes

    async def body(self, req: falcon.asgi.Request) -> tuple[bytes, BodyLease]:
        """Return the decoded body, and its lease, which the request holds until it is over.

        Raises:
            Unavailable: Other large bodies use all of the memory.
            NotJson, UnsupportedCoding, BrokenCoding, BodyTooLarge, MalformedBody:
                as :func:`read_body`.
        """
        taken = 0

        def give_back() -> None:
            self._free_bytes += taken

        def take(size: int) -> None:
            nonlocal taken
            if size <= max(taken, SMALL_BODY_BYTES):
                return
            if size - taken > self._free_bytes:
                raise Unavailable("too many large request bodies at the moment")
            self._free_bytes -= size - taken
            taken = size

        lease = BodyLease(give_back)
        at_end(req, lease.release)
        return await read_body(req, self._limit, take), lease


async def read_body(
    req: falcon.asgi.Request,
    limit: int,
    take: Callable[[int], None] = lambda size: None,
) -> bytes:
    """Return the decoded body, of at most ``limit`` bytes.

    ``take`` is called with its size as it grows, and may raise.

    Raises:
        NotJson: The content type is not JSON.
        UnsupportedCoding, BrokenCoding: The content encoding is not supported or not correct.
        BodyTooLarge: It is longer, as sent or decoded.
        MalformedBody: It is incomplete.
    """
    kind = (req.content_type or falcon.MEDIA_JSON).split(";", 1)[0].strip().lower()
    if kind != falcon.MEDIA_JSON and not kind.endswith("+json"):
        raise NotJson("the content type must be application/json")
    decoder = decoder_for(req.get_header("content-encoding"))
    announced = req.content_length or 0
    if announced > limit:
        raise BodyTooLarge(f"the body is over {limit} bytes")
    take(announced)
    pieces: list[bytes] = []
    came = size = 0
    async for chunk in req.stream:
        came += len(chunk)
        for piece in decoder.feed(chunk):
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(f"the body is over {limit} bytes")
            take(size)
            pieces.append(piece)
            if len(piece) == PIECE_BYTES:  # more of the same chunk may follow
                await asyncio.sleep(0)
    if came < announced or (req.content_length is None and not req.context.arrival.whole):
        raise MalformedBody("the body ended early")
    decoder.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_json(req: falcon.asgi.Request, limit: int) -> Any:
    """Return the decoded body.

    Raises:
        MalformedBody: It is not JSON.
        NotJson, UnsupportedCoding, BrokenCoding, BodyTooLarge: as :func:`read_body`.
    """
    try:
        return msgspec.json.decode(await read_body(req, limit))
    except UNREADABLE_JSON:
        raise MalformedBody("the body is not valid JSON") from None
