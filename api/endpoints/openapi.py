"""``/openapi.json``: the machine-readable description of the endpoints."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi

from shared.settings import Settings

from ..http.openapi import document


class OpenApiResource:
    """Serves the OpenAPI document."""

    def __init__(self, settings: Settings) -> None:
        self._document: dict[str, Any] = document(settings)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Return the document."""
        resp.media = self._document
