"""A Redis behind a guard: every command ends by its deadline, and one failure spares the others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from shared import keys
from shared.connection import BROKEN
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.settings import Settings

_log = structlog.get_logger(__name__)


class Guarded:
    """One place of the farm's state, as this front end sees it."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self.client = client
        self._settings = settings
        self._down_until = 0.0

    @property
    def up(self) -> bool:
        """Whether Redis answered last time, or it is time to try again."""
        return time.monotonic() >= self._down_until

    def answered(self) -> None:
        """Note that Redis answered somebody."""
        self._down_until = 0.0

    async def ask(self, command: Any, deadline: Deadline) -> Any:
        """Await one command within the deadline; a failure keeps others from trying.

        Raises:
            Degraded: Redis did not answer in time.
        """
        if not self.up:
            command.close()
            raise Degraded("redis")
        try:
            async with asyncio.timeout(min(deadline.remaining, self._settings.redis_timeout)):
                return await command
        except BROKEN as error:
            if deadline.remaining > 0:
                self._down_until = time.monotonic() + self._settings.redis_retry_seconds
            _log.warning("redis_failed", error=type(error).__name__)
            raise Degraded("redis") from None

    async def ping(self) -> bool:
        """Ask Redis whether it is there and may be written to (readiness)."""
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                await self.client.set(keys.PING, b"", ex=keys.PING_TTL_SECONDS)
        except BROKEN:
            return False
        return True

    async def start(self) -> None:
        """Nothing: connections open when they are needed."""

    async def stop(self) -> None:
        """Close the connections."""
        await self.client.aclose()
