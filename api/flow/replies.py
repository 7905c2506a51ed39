"""Where finished blocks come back to this front end.

One connection receives all of them: workers push each to the list that its job names, and
:class:`Replies` hands it to whoever waits. So thousands of waits cost one blocking command
and nothing polls.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from shared import keys
from shared.connection import BROKEN, connect_async
from shared.jobs import Form, unpack_form, unpack_reply
from shared.settings import Settings

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
Awaited = dict[str, asyncio.Future[Form]]


class Replies:
    """This process's reply list, and who waits for what."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = connect_async(settings, blocking_seconds=_POLL_SECONDS)
        self.key = keys.replies(secrets.token_hex(8))
        self._waiting: dict[tuple[str, str], set[asyncio.Future[Form]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to receive."""
        self._task = asyncio.create_task(self._receive(), name="replies")

    async def stop(self) -> None:
        """Stop receiving and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    @contextmanager
    def awaited(self, user: str, wanted: Iterable[str]) -> Iterator[Awaited]:
        """Within it the replies to ``user``'s block keys come to the futures it gives."""
        loop = asyncio.get_running_loop()
        futures: Awaited = {key: loop.create_future() for key in wanted}
        for key, future in futures.items():
            self._waiting.setdefault((user, key), set()).add(future)
        try:
            yield futures
        finally:
            for key, future in futures.items():
                waiters = self._waiting[(user, key)]
                waiters.discard(future)
                if not waiters:
                    del self._waiting[(user, key)]

    async def _receive(self) -> None:
        while True:
            try:
                popped: Any = await self._redis.blmpop(
                    _POLL_SECONDS, 1, self.key, direction="LEFT", count=64
                )
            except BROKEN:
                await asyncio.sleep(self._settings.redis_retry_seconds / 4)
                continue
            for packed in popped[1] if popped else ():
                self._deliver(packed)

    def _deliver(self, packed: bytes) -> None:
        try:
            reply = unpack_reply(packed)
            form = unpack_form(reply.form)
        except (msgspec.DecodeError, ValueError):
            _log.warning("reply_unreadable", bytes=len(packed))
            return
        for future in self._waiting.get((reply.user, reply.key), ()):
            if not future.done():
                future.set_result(form)
