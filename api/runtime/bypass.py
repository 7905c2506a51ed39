"""Watches the emergency switch (``shared/bypass.py``) for this front-end process."""

from __future__ import annotations

import asyncio
import time

import structlog

from shared import keys
from shared.bypass import Bypass, read
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.settings import Settings

from .background_tasks import end, every, supervise
from .redis_guard import RedisGuard

_log = structlog.get_logger(__name__)


class BypassSwitch:
    """Whether all conversations are returned verbatim; read once per heartbeat interval.

    While Redis is unavailable, the last known state applies until it expires.
    """

    def __init__(self, settings: Settings, queues: RedisGuard) -> None:
        self._settings = settings
        self._queues = queues
        self._task: asyncio.Task[None] | None = None
        self.bypass: Bypass | None = None
        self._ends = float("inf")

    async def start(self) -> None:
        """Read the switch, then keep reading it."""
        await self._look()
        seconds = self._settings.worker_heartbeat_seconds
        self._task = supervise("bypass", lambda: every(seconds, self._look))

    async def stop(self) -> None:
        """Stop reading."""
        await end([self._task])

    async def _look(self) -> None:
        before, known = self.bypass, self.bypass
        deadline = Deadline.after(2 * self._settings.redis_timeout)
        try:
            known = read(await self._queues.ask(self._queues.client.get(keys.BYPASS), deadline))
            if known is not None:
                asked = self._queues.client.pttl(keys.BYPASS)
                left_ms = await self._queues.ask(asked, deadline)
                self._ends = time.monotonic() + left_ms / 1000 if left_ms >= 0 else float("inf")
        except Degraded:
            if known is not None and self._ends <= time.monotonic():
                known = None
        self.bypass = known
        if known is not None and before is None:
            _log.warning("bypass_on", reason=known.reason, since=known.since, until=known.until)
        elif known is None and before is not None:
            _log.warning("bypass_off")
