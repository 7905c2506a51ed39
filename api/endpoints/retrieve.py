"""``/v1/retrieve``: the original behind a marker, for the user it was stored for."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from shared import keys
from shared.deadline import Deadline
from shared.errors import InvalidField, NotRetrievable, Unavailable, UnknownHash
from shared.settings import Settings

from ..accounting.usage_recording import AnswerBook
from ..http.request import read_json, sandbox_of, user_of
from ..provider.provider_interface import Retrieval, ToolResult
from ..runtime.find_original import find_original
from ..runtime.user_store import Retrieved, UserStore

BODY_BYTES = 65_536


class Originals:
    """Looks up originals for the request's user."""

    def __init__(self, settings: Settings, state: UserStore, book: AnswerBook) -> None:
        self._settings = settings
        self._state = state
        self._book = book

    async def find(self, req: falcon.asgi.Request, digest: object) -> dict[str, Any]:
        """Return the contract's fields of the original under ``digest``.

        Raises:
            InvalidField: the hash is missing.
            UnknownHash, Expired: there is no original, or it has expired.
            Unavailable: Redis is unavailable.
        """
        if not isinstance(digest, str) or not digest:
            raise InvalidField("'hash' is required")
        sandbox = sandbox_of(req)
        found = await self._of(sandbox or user_of(req), digest)
        if sandbox is None:
            self._book.retrieved(user_of(req), found)
        return _fields(found)

    async def _of(self, name: str, digest: str) -> Retrieved:
        """Return the user's original with this hash.

        Raises:
            UnknownHash, Expired: there is no original, or it has expired.
            Unavailable: Redis is unavailable.
        """
        deadline = Deadline.after(self._settings.deadline_ms / 1000)
        tag = keys.user_tag(name)
        return await find_original(self._state, self._settings, tag, digest, deadline)

    async def answer(self, user: str, call: Retrieval) -> ToolResult:
        """Return the result of the model's retrieval call; a miss gives the reason as text."""
        try:
            if not call.hash:
                raise UnknownHash("the call names no hash")
            found = await self._of(user, call.hash)
        except (NotRetrievable, Unavailable) as error:
            missing = {"error": str(error), "hash": call.hash, "status": error.type}
            return ToolResult(call.id, msgspec.json.encode(missing).decode(), failed=True)
        self._book.retrieved(user, found)
        return ToolResult(call.id, msgspec.json.encode(for_the_model(_fields(found))).decode())


def _fields(found: Retrieved) -> dict[str, Any]:
    """Return the contract's fields of an original."""
    original = found.original
    return {
        "hash": original.hash,
        "original_content": original.content,
        "original_tokens": original.tokens,
        "original_item_count": original.items,
        "compressed_item_count": original.compressed_items,
        "tool_name": original.tool_name,
        "retrieval_count": found.times,
    }


def for_the_model(found: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an original that are shown to the model, as in headroom."""
    names = ("hash", "original_content", "original_item_count", "compressed_item_count")
    return {name: found[name] for name in names}


class RetrieveResource:
    """Answers with an original; another user's hash is unknown, like one that never existed."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Retrieve by ``{"hash": "..."}``."""
        body = await read_json(req, BODY_BYTES)
        digest = body.get("hash") if isinstance(body, dict) else None
        resp.media = await self._originals.find(req, digest)

    async def on_get_hash(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, digest: str
    ) -> None:
        """Retrieve by the hash in the path; a ``query`` is accepted and ignored."""
        resp.media = await self._originals.find(req, digest)
