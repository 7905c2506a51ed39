"""``POST /v1/compress/response``: continues a gateway's turn with a provider's answer."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import falcon
import falcon.asgi
import msgspec

from shared.deadline import Deadline
from shared.errors import UNREADABLE_JSON, Degraded, InvalidField, MalformedBody, Unavailable
from shared.settings import Settings

from ..accounting.provider_usage import read_usage
from ..accounting.usage_recording import AnswerBook
from ..gateway.response_half import ProviderAnswer, ResponseHalf
from ..http.request import Intake, user_of
from .retrieve import Originals

T = TypeVar("T")
_ID_CHARS = 128
_MOST_ROUNDS = 1_000_000
_MOST_MS = 86_400_000
_USAGE_BYTES = 65_536
_encode = msgspec.json.Encoder().encode


class _Body(msgspec.Struct):
    """The request body; the provider's answer stays raw JSON here."""

    turn_id: Any = None
    response: msgspec.Raw = msgspec.Raw(b"null")
    status: Any = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    latency_ms: Any = None
    round: Any = None


_body = msgspec.json.Decoder(_Body)
_object = msgspec.json.Decoder(dict[str, Any])


class TurnResource:
    """The response half of the turn contract; any front end can serve it."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        turns: ResponseHalf,
        originals: Originals,
        book: AnswerBook,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._turns = turns
        self._originals = originals
        self._book = book

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Return that the turn is done, or the next request to the provider.

        Raises:
            RequestError: The body is invalid, or the turn is not pending.
            Unavailable: Redis is unavailable; the gateway continues with the answer that it has.
        """
        user = user_of(req)
        raw, _ = await self._intake.body(req)
        turn_id, answer = _read(raw)
        deadline = Deadline.after(self._settings.deadline_ms / 1000)
        try:
            half = await self._turns.take(
                user,
                turn_id,
                answer,
                lambda call: self._originals.answer(user, call),
                deadline,
            )
        except Degraded:
            raise Unavailable("turns cannot be read at the moment") from None
        if half.billed is not None:
            billed = half.billed
            with contextlib.suppress(InvalidField):  # the provider's answer has an unknown format
                self._book.billed(user, billed.name, billed.model, billed.usage)
        resp.content_type = falcon.MEDIA_JSON
        resp.data = _encode(half.fields)


def _read(raw: bytes) -> tuple[str, ProviderAnswer]:
    """Return the turn's id and the provider's answer.

    Raises:
        MalformedBody: The body is not JSON.
        InvalidField: A field is invalid.
    """
    found = _decoded(_body, raw, "the body")
    turn_id = found.turn_id
    if not isinstance(turn_id, str) or not turn_id.strip() or len(turn_id) > _ID_CHARS:
        raise InvalidField(f"'turn_id' must be a string of 1 to {_ID_CHARS} characters")
    status = 200 if found.status is None else _whole("status", found.status, 100, 599)
    if found.round is not None:
        _whole("round", found.round, 0, _MOST_ROUNDS)
    if found.latency_ms is not None:
        late = found.latency_ms
        if isinstance(late, bool) or not isinstance(late, int | float) or not 0 <= late <= _MOST_MS:
            raise InvalidField("'latency_ms' must be a number of milliseconds")
    response = bytes(found.response)
    if response == b"null":
        response = b""
    elif not response.startswith(b"{"):
        raise InvalidField("'response' must be an object")
    return turn_id, ProviderAnswer(response, status, _usage(bytes(found.usage)), found.round)


def _decoded(decoder: msgspec.json.Decoder[T], raw: bytes, what: str) -> T:
    try:
        return decoder.decode(raw)
    except UNREADABLE_JSON:
        raise MalformedBody(f"{what} is not a JSON object that can be read") from None


def _usage(raw: bytes) -> dict[str, Any] | None:
    """Return the usage that the gateway reports; None if there is none.

    If ``raw`` is a whole answer of the provider, or Kong's log, the usage is its field ``usage``.
    """
    if raw == b"null":
        return None
    if len(raw) > _USAGE_BYTES or not raw.startswith(b"{"):
        raise InvalidField(f"'usage' must be an object of at most {_USAGE_BYTES} bytes")
    usage = _decoded(_object, raw, "'usage'")  # not looked into when the body is read
    if isinstance(usage.get("usage"), dict):
        usage = usage["usage"]
    if not usage:
        return None
    read_usage(usage)
    return dict(usage)


def _whole(name: str, value: object, least: int, most: int) -> int:
    good = isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, int) or not good or not least <= value <= most:
        raise InvalidField(f"'{name}' must be a whole number from {least} to {most}")
    return value
