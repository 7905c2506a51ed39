"""What a request is filed under: its session, and what the policy makes of that.

A session has one name in each of its requests and on every front end: the client's own session id,
or else what the user said before the model first answered. Instructions of a system or developer
are left out, for they are the same in all sessions of an agent; an agent may also open each session
with the same user message, so one alone is not enough. Only raw bytes are looked at, so the name
does not depend on what a process has read or had time for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from shared.policy import Arm

from .message import without_marks
from .split_body import Split

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, Arm, bytes]).decode
_ROLE = re.compile(rb'"role"\s*:\s*"(user|system|developer)"')
_LOOKED_AT = 16
"""Leading messages that are looked at."""


@dataclass(frozen=True, slots=True)
class Filed:
    """Under what the policy files a request: its rule, what became of it, and its session.

    ``chain`` names the conversation up to its last message (empty: nobody read it), so that a
    request sent again is told from the next turn. ``repeats`` are the tool calls that its newest
    messages made a second time.
    """

    rule: str
    arm: Arm
    session: bytes
    chain: bytes = b""
    repeats: int = 0

    @property
    def packed(self) -> bytes:
        """Rule, arm and session, to be noted beside what the request showed."""
        return _pack((self.rule, self.arm, self.session))

    @classmethod
    def unpack(cls, packed: bytes) -> Filed:
        """Return what :attr:`packed` notes; raises ``msgspec.DecodeError`` on foreign bytes."""
        return cls(*_unpack(packed))


def session_digest(user: str, session_id: str, taken: Split) -> bytes:
    """Return the 16 bytes that name the session of a request of ``user``.

    ``session_id`` is what the client calls it, empty if it says nothing.
    """
    named = session_id.encode("utf-8", "surrogatepass") or _beginning(taken)
    kind = b"id" if session_id else b"first"
    user_name = user.encode("utf-8", "surrogatepass")
    return blake2b(kind + b"\0" + user_name + b"\0" + named, digest_size=16).digest()


def _beginning(taken: Split) -> bytes:
    """Return what the user said before the model first answered."""
    spans = taken.spans[:_LOOKED_AT]
    said: list[bytes] = []
    for start, end in spans:
        raw = taken.body[start:end]
        found = _ROLE.search(raw)
        if found is None:
            break
        if found[1] == b"user":
            said.append(without_marks(raw)[0])
    if not said and spans:
        said.append(without_marks(taken.body[spans[0][0] : spans[0][1]])[0])
    return b"".join(said)
