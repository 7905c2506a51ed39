"""The farm's errors, and how they travel.

An invalid request raises :class:`RequestError`: it carries the HTTP status and a stable type
name, and the client gets ``{"error": {"type", "message"}}``. No other error reaches a client: an
internal failure (:class:`Degraded`) leads to an answer with the original text, and the reason is
in the answer's ``degraded`` list and in a log line.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

UNREADABLE_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors of msgspec on bytes that it cannot read; the standard library may still read them."""


class FarmError(Exception):
    """Base of every error raised on purpose by this project."""


class RequestError(FarmError):
    """An invalid request. ``status`` is the HTTP status, ``type`` a stable name."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request"


class MalformedBody(RequestError):
    """The body is not the JSON it claims to be."""

    type = "malformed_json"


class InvalidField(RequestError):
    """A field of the body has the wrong type or value."""

    type = "invalid_field"


class BodyTooLarge(RequestError):
    """The body is over the limit."""

    status = 413
    type = "body_too_large"


class BodyTooComplex(RequestError):
    """The body is within the size limit, but too complex to parse."""

    status = 413
    type = "body_too_complex"


class NotJson(RequestError):
    """The content type is not JSON."""

    status = 415
    type = "unsupported_media_type"


class UnsupportedCoding(RequestError):
    """The body's content encoding is not supported."""

    status = 415
    type = "unsupported_content_encoding"


class BrokenCoding(RequestError):
    """The body is not in the announced content encoding, or is cut off."""

    type = "malformed_encoding"


class InvalidPath(RequestError):
    """The path is encoded in a way that has two readings, or leaves its folder."""

    type = "invalid_path"


class InvalidUser(RequestError):
    """The user's name is not valid."""

    type = "invalid_user"


class Unauthorized(RequestError):
    """A bearer token is required and no known one was sent."""

    status = 401
    type = "unauthorized"


class Forbidden(RequestError):
    """The token lacks this endpoint's scope."""

    status = 403
    type = "forbidden"


class NotRetrievable(RequestError):
    """This user has no original with this hash."""

    status = 404


class UnknownHash(NotRetrievable):
    """This user never had an original with this hash."""

    type = "unknown_hash"


class Expired(NotRetrievable):
    """This user had one; it has expired."""

    type = "expired"


class UnknownTurn(RequestError):
    """This user has no turn with this id, or it has expired."""

    status = 404
    type = "unknown_turn"


class Conflict(RequestError):
    """Another answer of the same turn was taken before this one."""

    status = 409
    type = "already_answered"


class Unavailable(RequestError):
    """The answer is temporarily unavailable; only for requests that no model call waits for."""

    status = 503
    type = "unavailable"


class Degraded(FarmError):
    """A part of the farm failed; ``reason`` names it, and the original text is returned."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SupervisorError(FarmError):
    """The local supervisor could not start a part of the farm, or keep it running."""


class ArchiveError(FarmError):
    """The usage records could not be exported or restored; nothing was changed."""


class DemoError(FarmError):
    """The demonstration failed."""


class Unhealthy(FarmError):
    """A health check failed; the message says why."""


class SwitchError(FarmError):
    """The emergency switch could not be set or read."""


class ModelError(FarmError):
    """A model cannot be used: missing, broken, or made for another contract."""


class PolicyError(FarmError):
    """The policy file is not valid; the message says what is wrong with it and where."""
