"""Statistics of session caches by user, written a few times per second in the background.

They may be lost (``docs/architecture.md``, state in Redis), so no answer waits for them.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from shared import keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.settings import Settings

from .background_tasks import end, every, supervise
from .user_store import SessionActivity, UserStore

_log = structlog.get_logger(__name__)
_EVERY_SECONDS = 0.25
_TOUCH_SECONDS = 30.0
"""Interval, in seconds, at which the TTLs of an active user's keys are renewed."""


class SessionStats:
    """Collects the statistics of requests and writes them for all users together."""

    def __init__(self, settings: Settings, users: UserStore) -> None:
        self._settings = settings
        self._users = users
        self._noted: dict[str, SessionActivity] = {}
        self._touched: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, user: str, hits: int, misses: int, saved: int) -> None:
        """Add a request: its cached and uncached blocks, and the tokens the cached ones saved."""
        noted = self._noted.pop(user, None) or SessionActivity(keys.user_tag(user))
        self._noted[user] = noted  # the most recent user is last
        noted.hits += hits
        noted.misses += misses
        noted.saved += saved

    async def start(self) -> None:
        """Start writing."""
        self._task = supervise("activity", lambda: every(_EVERY_SECONDS, self._write))

    async def stop(self) -> None:
        """Write the remaining statistics, if Redis is available."""
        await end([self._task])
        await self._write()

    async def _write(self) -> None:
        """Write the collected statistics and reset them."""
        if not self._noted:
            return
        noted, self._noted = self._noted, {}
        deadline = Deadline.after(self._settings.redis_timeout)
        try:
            await self._users.note(noted, deadline)
            due = self._due(noted)
            if due:
                await self._users.touch(due, deadline)
        except Degraded:
            _log.warning("sessions_not_noted", users=len(noted))

    def _due(self, noted: dict[str, SessionActivity]) -> dict[str, str]:
        """Return the users whose keys' TTLs are due for renewal, with their tags."""
        now = time.monotonic()
        before = now - _TOUCH_SECONDS
        if len(self._touched) > 2 * self._settings.max_user_sessions:
            self._touched.clear()
        due = {u: n.tag for u, n in noted.items() if self._touched.get(u, -1e9) < before}
        self._touched.update(dict.fromkeys(due, now))
        return due
