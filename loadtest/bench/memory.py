"""Resident memory of a front end while the number of users grows."""

from __future__ import annotations

import time
from dataclasses import dataclass

import redis

from loadtest.http import Connection
from loadtest.scenarios import Conversation
from loadtest.sessions import MESSAGES_PER_TURN, session
from loadtest.target import Target, family

_TURNS = 24
_DEADLINE_SECONDS = 90.0


@dataclass(frozen=True)
class Memory:
    """Resident MiB of the largest front-end process: idle, and after each user's session.

    ``redis_user`` is what a user's session takes in Redis, in bytes: forms, originals, books.
    """

    idle: float
    resident: list[float]
    redis_user: float

    @property
    def peak(self) -> float:
        """The most it ever held."""
        return max(self.resident)

    @property
    def late_growth(self) -> float:
        """What the last third added to the peak of what was before it."""
        cut = len(self.resident) * 2 // 3
        return max(self.resident[cut:]) - max(self.resident[:cut])


def grow(target: Target, users: int, *, seed: int, prefix: str) -> Memory:
    """Post a session of 24 turns for each of ``users``, one after the other."""
    idle, kept = resident(target), _held(target)
    found = []
    give_up = time.monotonic() + _DEADLINE_SECONDS
    with Connection(target.url) as connection:
        for user in range(users):
            conversation = Conversation(session(seed + user, _TURNS))
            name = f"{prefix}m{user}"
            for turn in (_TURNS // 2, _TURNS):
                conversation.post(connection, name, turn * MESSAGES_PER_TURN)
            found.append(resident(target))
            if time.monotonic() > give_up:
                break
    return Memory(idle, found, (_held(target) - kept) / len(found))


def resident(target: Target) -> float:
    """Return the resident MiB of the target's largest front-end process."""
    ours = [p.resident for p in family(target.pids) if p.part == "front end"]
    return max(ours) / 2**20


def _held(target: Target) -> int:
    """Return the bytes that the target's Redis holds."""
    client = redis.Redis.from_url(target.redis_url)
    try:
        return int(client.info("memory")["used_memory"])
    finally:
        client.close()
