"""Finding the original behind a marker."""

from __future__ import annotations

import re

from shared.deadline import Deadline
from shared.errors import Degraded, Expired, Unavailable, UnknownHash
from shared.settings import Settings

from .user_store import Retrieved, UserStore

_HASH = re.compile("[a-f0-9]{12,24}")


async def find_original(
    store: UserStore, settings: Settings, user: str, digest: str, deadline: Deadline
) -> Retrieved:
    """Return the original with this hash of the user with this tag.

    Raises:
        UnknownHash, Expired: There never was such an original, or it has expired.
        Unavailable: Redis did not answer.
    """
    digest = digest.lower()
    kept = settings.ccr_ttl_seconds
    unknown = f"unknown: this user has no original under this hash (originals are kept {kept} s)"
    if not _HASH.fullmatch(digest):
        raise UnknownHash(unknown)
    try:
        found = await store.retrieve(user, digest, deadline)
        if found is None and await store.was_kept(user, digest, deadline):
            raise Expired(f"expired: kept {kept} s after the last answer that named it")
    except Degraded:
        raise Unavailable("originals cannot be read at the moment") from None
    if found is None:
        raise UnknownHash(unknown)
    return found
