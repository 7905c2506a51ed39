"""Finds the client's session and the conversation to which a request belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from shared.errors import UNREADABLE_JSON

from .body import Body, Unreadable
from .cache_marks import without_marks

HEADERS = ("x-headroom-session-id", "x-claude-code-session-id", "session-id")
_NAME_CHARS = 256
_LOOKED_AT = 16
"""Number of leading messages that are read for a conversation's beginning."""


class _Item(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")


_item = msgspec.json.Decoder(_Item)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The conversation of a request, whose retrievals its later requests repeat.

    ``session`` is the client's name for the session, empty if it gives none. ``beginning`` is a
    digest of the user's messages before the model's first answer, empty if they cannot be read.
    ``continued`` is the id of the stored answer that the request continues, empty if it does not.
    """

    session: str = ""
    beginning: str = ""
    first: str = ""
    continued: str = ""

    @property
    def key(self) -> str:
        """The name under which the conversation's retrievals are stored."""
        return self.session or f"begins:{self.beginning}"

    @property
    def keys(self) -> tuple[str, ...]:
        """All names under which they may be stored.

        Version 0.1.0 named a conversation without a session by its first item, so that all
        conversations with the same system prompt shared one name.
        """
        names = [self.key]
        if not self.session:
            names.append(f"first:{self.first}")
        if self.continued:
            names.append(name_of_answer(self.continued))
        return tuple(names)

    @property
    def named_beginning(self) -> str:
        """The beginning if the client names the session, else empty.

        A retrieval has a place by the text of an answer alone only in a conversation that has both:
        many conversations of one user may begin with the same words.
        """
        return self.beginning if self.session else ""


def name_of_answer(identity: str) -> str:
    """Return the name under which the retrievals within a stored answer are stored, too."""
    return f"answer:{_bounded(identity)}"


def conversation_of(
    header: Callable[[str], str | None], body: Body, array: str, continued: str = ""
) -> Conversation:
    """Return the conversation of a request; ``array`` is the field with its messages or items.

    System and developer messages do not count, because all conversations of an agent share them,
    and cache marks do not, because they move from turn to turn.
    """
    session = session_of(header, body)
    said: list[bytes] = []
    first = b""
    try:
        for raw in body.leading_items(array, _LOOKED_AT):
            item = _item.decode(raw)
            first = first or bytes(item.content)
            if item.role == "user":
                said.append(without_marks(bytes(item.content))[0])
            elif item.role not in ("system", "developer"):
                break
    except (Unreadable, *UNREADABLE_JSON):
        return Conversation(session, continued=continued)
    beginning = _digest(b"".join(said or [without_marks(first)[0]]))
    of_first = "" if session else _digest(_texts_of(first))
    return Conversation(session, beginning, of_first, continued)


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


def _texts_of(content: bytes) -> bytes:
    found = msgspec.json.decode(content or b"null")
    if isinstance(found, list):
        found = [part.get("text") if isinstance(part, dict) else part for part in found]
    return msgspec.json.encode(found)


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=16).hexdigest()


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
