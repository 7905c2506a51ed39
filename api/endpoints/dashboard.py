"""``/``, ``/dashboard`` and ``/static/``: the dashboard's page and its files.

The files are read once, at start, and looked up by name, so no path traversal is possible. They
hold no user data: the page fetches that from the API, with a token if one is required.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import falcon
import falcon.asgi

from shared.settings import Settings

_FOLDER = Path(__file__).parent.parent / "static"
_PAGE = "index.html"
_ORIGINS = b"{{origins}}"
"""Placeholder in the page for the list of other farms that it may read."""
_TYPES = {
    ".html": falcon.MEDIA_HTML,
    ".js": falcon.MEDIA_JS,
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FRESH = "no-cache"
"""Revalidate each time: an upgrade is visible at once, and a 304 costs little."""


class _File(NamedTuple):
    data: bytes
    kind: str
    etag: str


class DashboardResource:
    """Serves the page and its files, with ETags."""

    def __init__(self, settings: Settings) -> None:
        origins = " ".join(settings.dashboard_origins).encode()
        self._files: dict[str, _File] = {}
        for path in sorted(p for p in _FOLDER.rglob("*") if p.is_file()):
            data = path.read_bytes()
            if path.name == _PAGE:
                data = data.replace(_ORIGINS, origins)
            etag = blake2b(data, digest_size=12).hexdigest()
            kind = _TYPES.get(path.suffix, falcon.MEDIA_TEXT)
            self._files[path.relative_to(_FOLDER).as_posix()] = _File(data, kind, etag)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer with the page."""
        self._send(req, resp, self._files[_PAGE])

    async def on_get_file(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str
    ) -> None:
        """Answer with a file of the page."""
        file = self._files.get(name)
        if file is None or name == _PAGE:
            raise falcon.HTTPNotFound(description="the dashboard has no such file")
        self._send(req, resp, file)

    def _send(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, file: _File) -> None:
        resp.etag = file.etag
        resp.cache_control = [_FRESH]
        resp.content_type = file.kind
        known = req.if_none_match or ()
        if "*" in known or file.etag in known:
            resp.status = falcon.HTTP_304
            return
        resp.data = file.data
