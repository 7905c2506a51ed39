"""Security headers of every answer: what it may load, who may frame it, and who may read it.

There is one policy for API answers (load nothing, no framing) and one for HTML pages (only this
origin's files, no inline script or style, framing by the origins that the operator lists). The
answer's content type decides which one applies; a provider's answer (:func:`set_proxied`) is never
a page of this origin.
"""

from __future__ import annotations

import falcon
import falcon.asgi

from shared.settings import Settings

_EVERYWHERE = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)
_NO_FRAME = ("x-frame-options", "DENY")
"""The older header has no list form, so it is sent only if no framing is allowed."""
ANSWER_HEADERS = (
    *_EVERYWHERE,
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    _NO_FRAME,
)
_READABLE = ("x-request-id", "retry-after")
"""Response headers that a script of a listed origin may read."""


_PROXIED = "proxied"


def set_proxied(resp: falcon.asgi.Response) -> None:
    """Mark an answer as a provider's."""
    setattr(resp.context, _PROXIED, True)


class SecurityHeaders:
    """Middleware: sets these headers on every answer, errors included."""

    def __init__(self, settings: Settings) -> None:
        ancestors = " ".join(settings.frame_ancestors) or "'none'"
        sources = " ".join(["'self'", *settings.dashboard_origins])
        page = (
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
            f"form-action 'none'; connect-src {sources}; frame-ancestors {ancestors}"
        )
        self._page = [*_EVERYWHERE, ("content-security-policy", page)]
        if not settings.frame_ancestors:
            self._page.append(_NO_FRAME)

    async def process_response(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        resource: object,
        req_succeeded: bool,
    ) -> None:
        """Set the headers; JSON and providers' answers belong to one user: no cache stores them."""
        kind = resp.content_type or falcon.MEDIA_JSON
        proxied = getattr(resp.context, _PROXIED, False)
        if kind.startswith("text/html") and not proxied:
            resp.set_headers(self._page)
            return
        resp.set_headers(ANSWER_HEADERS)
        if kind.startswith(falcon.MEDIA_JSON) or proxied:
            resp.set_header("cache-control", "no-store")


_Cors = falcon.CORSMiddleware[falcon.asgi.Request, falcon.asgi.Response]


def cross_origin(settings: Settings) -> list[_Cors]:
    """Return Falcon's CORS middleware for the listed origins; none without a list.

    Credentials are not allowed: a page sends its bearer token itself.
    """
    if not settings.cors_origins:
        return []
    return [falcon.CORSMiddleware(settings.cors_origins, expose_headers=_READABLE)]
