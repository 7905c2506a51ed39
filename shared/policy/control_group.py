"""The control group: sessions that a rule's share leaves uncompressed, for comparison."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from .rules import Mode

Arm = Literal["on", "audit", "control", "off"]
"""How a conversation is treated. ``control``: outside its rule's ``share``, so not compressed."""


def arm_of(session: bytes, mode: Mode, share: float) -> Arm:
    """Return how the session with this digest is treated, if ``share`` per cent get ``mode``.

    The result is deterministic for a given ``share``, and raising the share only adds sessions.
    """
    if mode != "off" and position(session) >= share:
        return "control"
    return mode


def position(session: bytes) -> float:
    """Map a session's digest to [0, 100), uniformly; a share of N selects positions below N."""
    drawn = blake2b(session, digest_size=8, person=b"farm:share").digest()
    return int.from_bytes(drawn, "big") / 2**64 * 100
