"""The claim protocol: a block of one user is worked on once, whichever front end wants it.

A claim is a key of the user's slot, ``farm:{u:TAG}:claim:BLOCK``. Its value names reply lists:
the claimer's first, then those of the front ends that joined. It lives :data:`LEASE_MS`.

* **claim**: the first who misses a block in the session cache sets the key, and is to enqueue
  the block. While it does, and while the job exists, it prolongs the claim.
* **join**: who misses the block while the key is there adds its reply list to it and waits. It
  is told how long the claim lives, and claims again when that time is over: the claim of a front
  end that died, or never learned that it had it, is gone by then, and whoever waits takes over.
* **give up**: a claimer whose job was refused or lost removes the key and tells all who joined
  (:data:`GIVEN_UP`). They claim again.
* **deliver**: a worker puts the form into the cache, removes the key and sends the form to every
  list that it named.

A claim that lapsed while its job was still waiting costs that block a second computation, never
a second form: the first one in the cache stays. Every key ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import keys
from .jobs import Form, Reply, pack_form, pack_reply
from .scripts import script

LEASE_MS = 2000
"""How long a claim outlives the last that was heard of its owner, in milliseconds."""
KEYS_A_CALL = 256
"""Blocks asked for in one script call: others' commands wait while one runs."""
ABSENT, CLAIMED = 0, 1
"""What :meth:`Claiming.claim` says of a block that is not cached; a negative number is the time,
in milliseconds, for which another has it."""
GIVEN_UP = Form(None, outcome="refused")
"""The form that tells who joined a claim that no job will serve it."""


class Claiming:
    """The protocol's commands, on a client of the users' state, asynchronous or not.

    What a method returns is what redis-py returns for that client: an awaitable or a value.
    """

    def __init__(self, state: Any) -> None:
        self._claim = state.register_script(script("claim"))
        self._release = state.register_script(script("release"))
        self._forget = state.register_script(script("forget"))
        self._finish = state.register_script(script("finish"))
        self._prolong_sha: str = state.register_script(script("prolong")).sha

    def claim(self, user: str, owner: str, names: Sequence[str]) -> Any:
        """Look blocks up; claim or join what is absent. Gives a form or a number for each."""
        return self._look(user, owner, names, LEASE_MS)

    def look_up(self, user: str, names: Sequence[str]) -> Any:
        """Look blocks up; what is absent is :data:`ABSENT`."""
        return self._look(user, "", names, 0)

    def release(self, user: str, owner: str, names: Iterable[str]) -> Any:
        """Give up what ``owner`` has claimed; gives the reply lists that wait for each block."""
        return self._release(keys=[keys.claim(user, name) for name in names], args=[owner])

    def prolong(self, pipe: Any, user: str, owner: str, names: Iterable[str]) -> None:
        """Add to a pipeline what has ``owner``'s claims live :data:`LEASE_MS` from now on.

        The pipeline fails with ``NoScriptError`` where Redis lost its scripts.
        """
        claims = [keys.claim(user, name) for name in names]
        pipe.evalsha(self._prolong_sha, len(claims), *claims, owner, LEASE_MS)

    def forget(self, user: str, forms: Mapping[str, bytes]) -> Any:
        """Take these packed forms, by block key, out of the session cache."""
        pairs = [item for pair in forms.items() for item in pair]
        return self._forget(keys=[keys.cache(user)], args=pairs)

    def finish(self, user: str, name: str, packed: bytes, ttl: int, max_entries: int) -> Any:
        """End a block's claim and cache its form (empty: none); gives the lists that wait."""
        return self._finish(
            keys=[keys.cache(user), keys.ages(user), keys.claim(user, name)],
            args=[ttl, max_entries, name, packed],
        )

    def _look(self, user: str, owner: str, names: Sequence[str], lease_ms: int) -> Any:
        claims = [keys.claim(user, name) for name in names]
        return self._claim(
            keys=[keys.cache(user), keys.ages(user), *claims], args=[owner, lease_ms, *names]
        )


def tell(pipe: Any, lists: Iterable[bytes | str], user: str, name: str, form: Form) -> None:
    """Add to a pipeline of the queues' Redis what sends a block's form to reply lists."""
    reply = pack_reply(Reply(user, name, pack_form(form)))
    for each in lists:
        pipe.rpush(each, reply)
        pipe.expire(each, keys.REPLY_TTL_SECONDS)
