"""Where finished blocks come back to this front end.

One connection receives all of them: workers push each to the list that its job names, and
:class:`ResultInbox` hands it to whoever waits. So thousands of waits cost one blocking command
and nothing polls. What was popped when the connection broke is lost on its way; the session
caches have it, and there it is looked for when Redis answers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from shared import keys
from shared.connection import BROKEN, connect_async, renew_async
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import Form, unpack_form, unpack_reply
from shared.scripts import script
from shared.settings import Settings

from .redis_guard import RedisGuard
from .tasks import end, supervise

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
_GLANCE_SECONDS = 0.05
Awaited = dict[str, asyncio.Future[Form]]


class ResultInbox:
    """This process's reply list, and who waits for what."""

    def __init__(self, settings: Settings, state: RedisGuard) -> None:
        self._settings = settings
        self._state = state
        self._claim = state.client.register_script(script("claim"))
        self._redis = connect_async(settings, blocking_seconds=_POLL_SECONDS)
        self.key = keys.replies(secrets.token_hex(8))
        self._waiting: dict[tuple[str, str], set[asyncio.Future[Form]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to receive."""
        self._task = supervise("replies", self._receive, essential=True)

    async def stop(self) -> None:
        """Stop receiving and close the connection."""
        await end([self._task])
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
        # Somebody waits already where this runs again: what was popped before is lost.
        broken = bool(self._waiting)
        seconds = _GLANCE_SECONDS if broken else _POLL_SECONDS
        while True:
            try:
                popped: Any = await self._redis.blmpop(
                    seconds, 1, self.key, direction="LEFT", count=64
                )
            except BROKEN:
                # The next command tells at once whether Redis is back.
                seconds, broken = _GLANCE_SECONDS, True
                with contextlib.suppress(*BROKEN):
                    await renew_async(self._redis)
                await asyncio.sleep(self._settings.redis_retry_seconds / 4)
                continue
            for packed in popped[1] if popped else ():
                self._deliver(packed)
            if broken:
                await self._recover()
                seconds, broken = _POLL_SECONDS, False

    async def _recover(self) -> None:
        """Look in the session caches for what was lost on its way here."""
        lost: dict[str, list[str]] = {}
        for user, key in self._waiting:
            lost.setdefault(user, []).append(key)
        for user, wanted in lost.items():
            asked = self._claim(
                keys=[keys.cache(user), keys.ages(user), keys.flights(user)],
                args=[self.key, 0, *wanted],
            )
            try:
                deadline = Deadline.after(2 * self._settings.redis_timeout)
                found = await self._state.ask(asked, deadline, user)
            except Degraded:
                continue
            for key, packed in zip(wanted, found, strict=True):
                if isinstance(packed, bytes):
                    self._hand_over(user, key, packed)

    def _deliver(self, packed: bytes) -> None:
        try:
            reply = unpack_reply(packed)
        except (msgspec.DecodeError, ValueError):
            _log.warning("reply_unreadable", bytes=len(packed))
            return
        self._hand_over(reply.user, reply.key, reply.form)

    def _hand_over(self, user: str, key: str, packed: bytes) -> None:
        try:
            form = unpack_form(packed)
        except (msgspec.DecodeError, ValueError):
            _log.warning("form_unreadable", bytes=len(packed))
            return
        for future in self._waiting.get((user, key), ()):
            if not future.done():
                future.set_result(form)
