"""What browsers are told on every answer: what it may load, who may frame it, who may read it.

One policy for answers of the API (nothing may be loaded, nobody may frame them), one for
HTML pages (this origin's own files, no inline script or style, framed by whom the operator
lists). Which one applies follows from the answer's content type, so a page needs do nothing.
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
"""The older header knows no list, so it is sent only where nobody may frame."""
ANSWER_HEADERS = (
    *_EVERYWHERE,
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    _NO_FRAME,
)
_READABLE = ("x-request-id", "retry-after")
"""Headers that a script of a listed origin may read."""


class SecurityHeaders:
    """Middleware: the headers above on whatever leaves, errors included."""

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
        """Set the headers; JSON is one user's and is kept by no cache on its way."""
        kind = resp.content_type or falcon.MEDIA_JSON
        if kind.startswith("text/html"):
            resp.set_headers(self._page)
            return
        resp.set_headers(ANSWER_HEADERS)
        if kind.startswith(falcon.MEDIA_JSON):
            resp.set_header("cache-control", "no-store")


_Cors = falcon.CORSMiddleware[falcon.asgi.Request, falcon.asgi.Response]


def cross_origin(settings: Settings) -> list[_Cors]:
    """Return Falcon's CORS middleware for the listed origins; without a list there is none.

    No credentials: who may ask is told by a bearer token, which a page sets itself.
    """
    if not settings.cors_origins:
        return []
    return [falcon.CORSMiddleware(settings.cors_origins, expose_headers=_READABLE)]
