"""The identity of a request's session, and the policy's record of the request.

A session has the same identity in all its requests and on every front end: the client's own session
id, or else the user's messages before the model's first answer. System and developer messages are
left out, because they are the same in all sessions of an agent; an agent may also start each
session with the same user message, so one message is not enough. Only raw bytes are used, so the
identity does not depend on what a process has read or had time for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from shared.policy.control_group import Arm

from ..provider.cache_marks import without_marks
from .split_body import Split

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, Arm, bytes]).decode
_ROLE = re.compile(rb'"role"\s*:\s*"(user|system|developer)"')
_LOOKED_AT = 16
"""Number of leading messages that are checked."""


@dataclass(frozen=True, slots=True)
class Filed:
    """The policy's record of a request: the rule, the treatment (``arm``), and the session.

    ``chain`` identifies the conversation up to its last message (empty: it was not read), so that a
    repeated request is distinguished from the next turn. ``repeats`` is the number of tool calls in
    its newest messages that repeat an earlier call.
    """

    rule: str
    arm: Arm
    session: bytes
    chain: bytes = b""
    repeats: int = 0

    @property
    def packed(self) -> bytes:
        """Rule, arm and session as bytes, to be stored with the request's observations."""
        return _pack((self.rule, self.arm, self.session))

    @classmethod
    def unpack(cls, packed: bytes) -> Filed:
        """Decode :attr:`packed`; raises ``msgspec.DecodeError`` on other bytes."""
        return cls(*_unpack(packed))


def session_digest(user: str, session_id: str, taken: Split) -> bytes:
    """Return the 16 bytes that identify the session of a request of ``user``.

    ``session_id`` is the client's name for it, empty if it gives none.
    """
    named = session_id.encode("utf-8", "surrogatepass") or _beginning(taken)
    kind = b"id" if session_id else b"first"
    user_name = user.encode("utf-8", "surrogatepass")
    return blake2b(kind + b"\0" + user_name + b"\0" + named, digest_size=16).digest()


def _beginning(taken: Split) -> bytes:
    """Return the bytes of the user's messages before the model's first answer."""
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
