"""The headers that are sent to the provider, and those that are returned to the client."""

from __future__ import annotations

from collections.abc import Iterable

from ..http.auth import FARM_TOKEN

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110, section 7.6.1: headers that apply to a single connection."""
_OF_ONE_REQUEST = frozenset({"host", "content-length", "expect"})
_OURS = frozenset({FARM_TOKEN, "x-maas-username", "x-real-ip", "forwarded", "via"})
_OURS_BEGIN = ("x-headroom-", "x-forwarded-")
"""The farm's own headers, and what proxies in front of it report about the client."""
_OF_THE_CLIENTS_HOST = frozenset({"cookie"})
"""Cookies belong to the host that set them: the farm's, or a login page in front of it."""
_OF_THE_PROVIDERS_HOST = frozenset(
    {
        "alt-svc",
        "cache-control",
        "clear-site-data",
        "content-security-policy",
        "content-security-policy-report-only",
        "nel",
        "permissions-policy",
        "referrer-policy",
        "report-to",
        "reporting-endpoints",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "x-content-type-options",
        "x-frame-options",
    }
)
_OF_THE_PROVIDERS_HOST_BEGIN = ("access-control-", "cross-origin-", "x-headroom-")
"""What the provider says about its own host and to its own pages. A client would take it for the
farm's, whose answers have their own (:mod:`api.http.security_headers`)."""
REQUEST_ID = "x-request-id"
UPSTREAM_REQUEST_ID = "x-headroom-upstream-request-id"
"""The provider's ``x-request-id`` in the farm's answer, which has a request id of its own."""

Headers = list[tuple[str, str]]


def to_upstream(headers: Iterable[tuple[bytes, bytes]], *, without: Iterable[str] = ()) -> Headers:
    """Return a request's headers for the provider; those in ``without`` are removed too."""
    found = [(name.decode("latin-1").lower(), _text(value)) for name, value in headers]
    gone = _HOP_BY_HOP | _OF_ONE_REQUEST | _OURS | _OF_THE_CLIENTS_HOST
    gone |= {*without, *_named(found), REQUEST_ID}
    return [
        (name, value)
        for name, value in found
        if name not in gone and not name.startswith(_OURS_BEGIN)
    ]


def to_client(headers: Iterable[tuple[str, str]], *, changed: bool) -> Headers:
    """Return an answer's headers for the client; ``changed``: the farm has changed the body."""
    found = [(name.lower(), value) for name, value in headers]
    gone = {*_HOP_BY_HOP, *_OF_THE_PROVIDERS_HOST, *_named(found)}
    if changed:
        gone.add("content-length")
    return [
        (UPSTREAM_REQUEST_ID if name == REQUEST_ID else name, value)
        for name, value in found
        if name not in gone and not name.startswith(_OF_THE_PROVIDERS_HOST_BEGIN)
    ]


def _text(value: bytes) -> str:
    """Return a value for the client library, which encodes it as UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _named(headers: Headers) -> list[str]:
    """Return the headers that ``Connection`` lists as applying to this connection only."""
    said = [value for name, value in headers if name == "connection"]
    return [part.strip().lower() for value in said for part in value.split(",")]
