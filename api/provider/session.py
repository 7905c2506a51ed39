"""Finds the client's session to which a request belongs."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from shared.errors import UNREADABLE_JSON

from .body import Body, Unreadable

HEADERS = ("x-headroom-session-id", "x-claude-code-session-id", "session-id")
_NAME_CHARS = 256


def session_of(header: Callable[[str], str | None], body: Body) -> str:
    """Return the client's session name, empty if the request has none.

    ``header`` returns a header's value by its lower-case name. The name is the first of these that
    is present: the headers of :data:`HEADERS`, the body's ``prompt_cache_key``, its
    ``metadata.user_id`` (which Claude Code fills with an object that has a ``session_id``; older
    versions with ``user_..._session_ID``). A name of over 256 characters is replaced by its digest.
    """
    for name in HEADERS:
        if given := header(name):
            return _bounded(given)
    key = body.get("prompt_cache_key")
    if isinstance(key, str) and key:
        return _bounded(key)
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    return _bounded(_session_in(user)) if isinstance(user, str) else ""


def first_words(body: Body, array: str) -> str:
    """Return what identifies a conversation without a session name: its first item's text.

    Cache marks are ignored, because they move from turn to turn.
    """
    try:
        item = body.first_item(array)
        first = msgspec.json.decode(item) if item else None
    except (Unreadable, *UNREADABLE_JSON):
        return ""
    content = first.get("content") if isinstance(first, dict) else None
    if isinstance(content, list):
        content = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "first:" + blake2b(msgspec.json.encode(content), digest_size=16).hexdigest()


def _session_in(user: str) -> str:
    if user.startswith("{"):
        try:
            named = msgspec.json.decode(user)
        except UNREADABLE_JSON:
            return user
        session = named.get("session_id") if isinstance(named, dict) else None
        return session if isinstance(session, str) and session else user
    return user.rpartition("_session_")[2] or user


def _bounded(name: str) -> str:
    if len(name) <= _NAME_CHARS:
        return name
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
