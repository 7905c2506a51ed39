"""``/v1/retrieve``: the original behind a marker, for the user it was stored for."""

from __future__ import annotations

import re

import falcon.asgi
import msgspec

from shared import keys
from shared.deadline import Deadline
from shared.errors import Degraded, InvalidField, MalformedBody, NotRetrievable, Unavailable
from shared.settings import Settings

from ..flow.dispatch import Dispatcher
from ..requests import read_body, user_of

_HASH = re.compile("[a-f0-9]{12,24}")
_BODY_BYTES = 65_536


class RetrieveResource:
    """Answers with an original; another user's hash is as unknown as one never made."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._dispatcher = dispatcher

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Retrieve by ``{"hash": "..."}``."""
        try:
            body = msgspec.json.decode(await read_body(req, _BODY_BYTES))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedBody("the body is not valid JSON") from None
        await self._answer(req, resp, body.get("hash") if isinstance(body, dict) else None)

    async def on_get_hash(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, digest: str
    ) -> None:
        """Retrieve by the hash in the path."""
        await self._answer(req, resp, digest)

    async def _answer(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, digest: object
    ) -> None:
        if not isinstance(digest, str) or not digest:
            raise InvalidField("'hash' is required")
        deadline = Deadline.after(self._settings.deadline_ms / 1000)
        found = None
        if _HASH.fullmatch(digest.lower()):
            try:
                found = await self._dispatcher.retrieve(
                    keys.user_tag(user_of(req)), digest.lower(), deadline
                )
            except Degraded:
                raise Unavailable("originals cannot be read at the moment") from None
        if found is None:
            kept = self._settings.ccr_ttl_seconds
            raise NotRetrievable(
                f"no original under this hash: unknown or expired (kept {kept} s after the "
                "last answer that named it)"
            )
        original, count = found
        resp.media = {
            "hash": original.hash,
            "original_content": original.content,
            "original_tokens": original.tokens,
            "original_item_count": original.items,
            "compressed_item_count": original.compressed_items,
            "tool_name": original.tool_name,
            "retrieval_count": count,
        }
