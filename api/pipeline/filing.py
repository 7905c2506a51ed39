"""What a request is filed under: its session, and what the policy makes of that.

A session has one name in each of its requests and on every front end: the client's own session id,
or else its conversation's first message that is not a system's or developer's, for an agent's
instructions are the same in all its sessions. Only raw bytes are looked at, so the name does not
depend on what a process has read or had time for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from shared.policy import Arm

from .message import without_marks
from .split import Split

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, Arm, bytes]).decode
_INSTRUCTIONS = re.compile(rb'"role"\s*:\s*"(?:system|developer)"')
_LOOKED_AT = 16
"""Leading messages that may be instructions; more are not searched through."""


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
    spans = taken.spans[:_LOOKED_AT]
    for start, end in spans:
        raw = taken.body[start:end]
        if not _INSTRUCTIONS.search(raw):
            return without_marks(raw)[0]
    return b"" if not spans else without_marks(taken.body[spans[0][0] : spans[0][1]])[0]
