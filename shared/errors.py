"""The farm's errors, and how they travel.

An error the *caller* made is a :class:`RequestError`: it carries its HTTP status and a
stable type name, and reaches him as ``{"error": {"type", "message"}}``. Nothing else may
reach him: whatever breaks inside (:class:`Degraded`) turns into an answer with the
original text, the reason in the answer's ``degraded`` list and in a log line.
"""

from __future__ import annotations

from typing import ClassVar


class FarmError(Exception):
    """Base of every error raised on purpose by this project."""


class RequestError(FarmError):
    """The caller's mistake. ``status`` is the HTTP status, ``type`` a stable name."""

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
    """The body is within the limit of size, but what it holds is not to be taken apart."""

    status = 413
    type = "body_too_complex"


class NotJson(RequestError):
    """The content type is not JSON."""

    status = 415
    type = "unsupported_media_type"


class UnsupportedCoding(RequestError):
    """The body's content encoding is none that is taken."""

    status = 415
    type = "unsupported_content_encoding"


class BrokenCoding(RequestError):
    """The body is not in the content encoding it claims, or is cut off."""

    type = "malformed_encoding"


class InvalidUser(RequestError):
    """The user's name cannot be one."""

    type = "invalid_user"


class Unauthorized(RequestError):
    """A bearer token is needed and none that is known came."""

    status = 401
    type = "unauthorized"


class Forbidden(RequestError):
    """The token does not open this endpoint."""

    status = 403
    type = "forbidden"


class NotRetrievable(RequestError):
    """No original lies under this hash for this user."""

    status = 404


class UnknownHash(NotRetrievable):
    """This user never had an original under this hash."""

    type = "unknown_hash"


class Expired(NotRetrievable):
    """This user had one; its time is over."""

    type = "expired"


class Unavailable(RequestError):
    """What was asked for cannot be had at the moment; only for requests no LLM waits for."""

    status = 503
    type = "unavailable"


class Degraded(FarmError):
    """A part of the farm failed; ``reason`` names it and the original text goes through."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SupervisorError(FarmError):
    """The local runner could not start or keep a part of the farm."""


class ArchiveError(FarmError):
    """The books could not be exported or restored; nothing was changed."""


class DemoError(FarmError):
    """The demo could not show what it is there to show."""


class Unhealthy(FarmError):
    """A health check failed, and why."""


class SwitchError(FarmError):
    """The emergency switch could not be turned or read."""


class ModelError(FarmError):
    """A model cannot be used: missing, broken, or made for another contract."""
