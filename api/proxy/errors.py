"""Failures of requests to a provider, in the error format of its API."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from shared.errors import FarmError

ProviderName = Literal["anthropic", "openai"]
_encode = msgspec.json.Encoder().encode


class UpstreamFailed(FarmError):
    """The provider gave no complete answer. ``status`` is 502 or 504, ``kind`` is the cause."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def error_body(provider: ProviderName, kind: str, message: str) -> bytes:
    """Return the JSON body of an error as the provider would write it."""
    return _encode(_error(provider, kind, message))


def error_event(provider: ProviderName, kind: str, message: str) -> bytes:
    """Return the error as an event, for a stream that has already started."""
    return b"event: error\ndata: " + error_body(provider, kind, message) + b"\n\n"


def _error(provider: ProviderName, kind: str, message: str) -> dict[str, Any]:
    if provider == "anthropic":
        named = {
            "upstream_timeout": "timeout_error",
            "not_configured": "not_found_error",
            "websocket_unsupported": "invalid_request_error",
        }
        error = {"type": named.get(kind, "api_error"), "message": message}
        return {"type": "error", "error": error}
    named = dict.fromkeys(("not_configured", "websocket_unsupported"), "invalid_request_error")
    error = {"message": message, "type": named.get(kind, "server_error")}
    return {"error": {**error, "param": None, "code": kind}}
