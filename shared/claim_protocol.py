"""The claim protocol: a block of one user is compressed once, by whichever front end claims it.

A claim is a key of the user's slot, ``farm:{u:TAG}:claim:BLOCK``. Its value names reply lists:
the claimer's first, then those of the front ends that joined. Its TTL is :data:`LEASE_MS`.

* **claim**: the first front end that misses a block in the session cache sets the key and
  enqueues the block. Until the result arrives it renews the claim.
* **join**: a front end that misses the block while the key exists adds its reply list to the key
  and waits. It gets the claim's TTL, and claims again after that time: the claim of a front end
  that died, or never learned that it had the claim, has then expired.
* **give up**: a claimer whose job was refused or lost deletes the key and notifies all front ends
  that joined (:data:`GIVEN_UP`). They claim again.
* **deliver**: a worker stores the form in the cache, deletes the key and sends the form to every
  list that the key named.

If a claim expires while its job still waits, the block is computed twice, but it never gets two
forms: the first one in the cache stays. Every key has a TTL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import keys
from .jobs import Form, Reply, pack_form, pack_reply
from .scripts import script

LEASE_MS = 2000
"""TTL of a claim after its last renewal, in milliseconds."""
KEYS_A_CALL = 256
"""Maximum number of blocks in a script call, because a running script blocks other commands."""
ABSENT, CLAIMED = 0, 1
"""Answers of :meth:`Claiming.claim` for a block that is not cached. A negative number means that
another front end has claimed it, and is the claim's remaining time in milliseconds."""
GIVEN_UP = Form(None, outcome="refused")
"""The form that tells joined front ends that no job will serve the claim."""


class Claiming:
    """The protocol's commands, for a synchronous or asynchronous client of the users' state.

    Methods return what redis-py returns for that client: a value or an awaitable.
    """

    def __init__(self, state: Any) -> None:
        self._claim = state.register_script(script("claim_blocks"))
        self._release = state.register_script(script("release_claims"))
        self._forget = state.register_script(script("forget_forms"))
        self._finish = state.register_script(script("finish_block"))
        self._prolong_sha: str = state.register_script(script("renew_claims")).sha

    def claim(self, user: str, owner: str, names: Sequence[str]) -> Any:
        """Look up blocks; claim or join those not cached. Returns a form or a number for each."""
        return self._look(user, owner, names, LEASE_MS)

    def look_up(self, user: str, names: Sequence[str]) -> Any:
        """Look up blocks; returns a form for each, or :data:`ABSENT` if it is not cached."""
        return self._look(user, "", names, 0)

    def release(self, user: str, owner: str, names: Iterable[str]) -> Any:
        """Give up claims of ``owner``; returns the reply lists that wait for each block."""
        return self._release(keys=[keys.claim(user, name) for name in names], args=[owner])

    def prolong(self, pipe: Any, user: str, owner: str, names: Iterable[str]) -> None:
        """Add to a pipeline the command that renews ``owner``'s claims for :data:`LEASE_MS`.

        The pipeline fails with ``NoScriptError`` if Redis has lost its scripts.
        """
        claims = [keys.claim(user, name) for name in names]
        pipe.evalsha(self._prolong_sha, len(claims), *claims, owner, LEASE_MS)

    def forget(self, user: str, forms: Mapping[str, bytes]) -> Any:
        """Remove these packed forms, by block key, from the session cache."""
        pairs = [item for pair in forms.items() for item in pair]
        return self._forget(keys=[keys.cache(user)], args=pairs)

    def finish(self, user: str, name: str, packed: bytes, ttl: int, max_entries: int) -> Any:
        """End a block's claim and cache its form (empty: none); returns the waiting lists."""
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
    """Add to a pipeline of the queues' Redis the commands that send a form to reply lists."""
    reply = pack_reply(Reply(user, name, pack_form(form)))
    for each in lists:
        pipe.rpush(each, reply)
        pipe.expire(each, keys.REPLY_TTL_SECONDS)
