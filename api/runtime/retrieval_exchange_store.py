"""Retrievals made within a session's turns, kept in Redis so that any replica can continue it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from shared import keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.scripts import script
from shared.settings import Settings

from .redis_guard import RedisGuard

_log = structlog.get_logger(__name__)
MOST_BYTES = 1024 * 1024
"""Maximum size of an exchange."""


class ExchangeStore:
    """Keeps packed exchanges by user and session for ``HEADROOM_SESSION_TTL`` after the last use.

    Nothing fails while Redis is unavailable: a session then continues without its exchanges.
    """

    def __init__(self, settings: Settings, state: RedisGuard) -> None:
        self._settings = settings
        self._state = state
        self._add = state.client.register_script(script("keep_exchange"))
        self._writes: set[asyncio.Task[bool]] = set()

    async def recall(
        self, user: str, sessions: Sequence[str], deadline: Deadline
    ) -> list[bytes] | None:
        """Return the exchanges and notes under all these names, each once; renew their TTL.

        Those of a name are in order, oldest first. None: Redis is unavailable.
        """
        names = [keys.exchanges(user, session) for session in sessions]
        pipe = self._state.client.pipeline(transaction=False)
        for name in names:
            pipe.lrange(name, 0, -1)
            pipe.expire(name, self._settings.session_ttl)
        try:
            lists = (await self._state.ask(pipe.execute(), deadline, user))[::2]
        except Degraded:
            return None
        return list(dict.fromkeys(bytes(one) for found in lists for one in found))

    async def remember(self, user: str, session: str, packed: bytes) -> bool:
        """Add an exchange to the session, or a note that the tool was offered.

        Returns whether it is stored.
        """
        limits = [keys.EXCHANGES, keys.EXCHANGE_BYTES, self._settings.session_ttl]
        command = self._add(keys=[keys.exchanges(user, session)], args=[packed, *limits])
        try:
            deadline = Deadline.after(self._settings.redis_timeout)
            dropped = await self._state.ask(command, deadline, user)
        except Degraded as error:
            _log.warning("exchange_not_kept", reason=error.reason)
            return False
        if dropped:
            _log.info("exchanges_dropped", number=dropped)
        return True

    def note_offered(self, user: str, session: str, note: bytes) -> None:
        """Record in the background that the session was offered the tool."""
        task = asyncio.create_task(self.remember(user, session, note), name="offered")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
