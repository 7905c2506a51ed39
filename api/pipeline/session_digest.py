"""What names a session, the same in each of its requests and on every front end.

A client's own session id is best. Without one, a conversation is told from the user's others by
its first message that is not a system's or developer's: an agent's instructions are the same in
all its sessions. Only raw bytes are looked at, so the name does not depend on what a process has
read or had time for.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from .message import without_marks
from .split import Split

_INSTRUCTIONS = re.compile(rb'"role"\s*:\s*"(?:system|developer)"')
_LOOKED_AT = 16
"""Leading messages that may be instructions; more are not searched through."""


def session_digest(user: str, session_id: str, taken: Split) -> bytes:
    """Return the 16 bytes that name the session of a request of ``user``.

    ``session_id`` is what the client calls it, empty where it says nothing.
    """
    named = session_id.encode("utf-8", "surrogatepass") or _beginning(taken)
    kind = b"id" if session_id else b"first"
    user_name = user.encode("utf-8", "surrogatepass")
    return blake2b(kind + b"\0" + user_name + b"\0" + named, digest_size=16).digest()


def _beginning(taken: Split) -> bytes:
    spans = taken.spans[:_LOOKED_AT]
    for start, end in spans:
        raw = taken.body[start:end]
        if not _INSTRUCTIONS.search(raw):
            return without_marks(raw)[0]
    return b"" if not spans else without_marks(taken.body[spans[0][0] : spans[0][1]])[0]
