"""Failures of requests to a provider, in the error format of its API."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from shared.errors import FarmError

ProviderName = Literal["anthropic", "openai"]
DRAINING = "draining"
"""The cause of a failure that is not the provider's."""
_encode = msgspec.json.Encoder().encode


class UpstreamFailed(FarmError):
    """The provider gave no complete answer. ``status`` is 502 to 504, ``kind`` is the cause."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def draining() -> UpstreamFailed:
    """Return the failure of a request that is still open when its front end ends."""
    message = "this front end is shutting down; send the request again"
    return UpstreamFailed(503, DRAINING, message)


def error_body(provider: ProviderName, kind: str, message: str) -> bytes:
    """Return the JSON body of an error as the provider would write it."""
    return _encode(_error(provider, kind, message))


def error_event(provider: ProviderName, kind: str, message: str, number: int | None) -> bytes:
    """Return the error as an event, for a stream that has already started.

    ``number`` is as for :func:`as_event`.
    """
    return as_event(_error(provider, kind, message), number)


def as_event(error: dict[str, Any], number: int | None) -> bytes:
    """Return an API's error body as an event.

    ``number`` is the event's number in a stream of OpenAI's Responses, where an error has a type
    and its fields are not nested; None in other streams.
    """
    if number is not None:
        inner = error.get("error")
        said = inner if isinstance(inner, dict) else {}
        fields = {name: said.get(name) for name in ("code", "message", "param")}
        error = {"type": "error", **fields, **error, "sequence_number": number}
    return b"event: error\ndata: " + _encode(error) + b"\n\n"


def _error(provider: ProviderName, kind: str, message: str) -> dict[str, Any]:
    if provider == "anthropic":
        named = {
            "upstream_timeout": "timeout_error",
            "not_configured": "not_found_error",
            "websocket_unsupported": "invalid_request_error",
            DRAINING: "overloaded_error",
        }
        error = {"type": named.get(kind, "api_error"), "message": message}
        return {"type": "error", "error": error}
    named = dict.fromkeys(("not_configured", "websocket_unsupported"), "invalid_request_error")
    error = {"message": message, "type": named.get(kind, "server_error")}
    return {"error": {**error, "param": None, "code": kind}}
