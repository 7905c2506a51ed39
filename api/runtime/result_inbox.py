"""Receives the results of blocks for this front end.

Workers push each result to the list that its job names; one connection pops them all, and
:class:`ResultInbox` passes them to the requests that wait. So thousands of waiting requests cost
one blocking command, and nothing polls. A result popped while the connection breaks is lost; it
is looked up in the session cache once Redis answers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog

from shared import keys
from shared.claim_protocol import GIVEN_UP, KEYS_A_CALL, Claiming
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import Form, unpack_form, unpack_reply
from shared.redis_connection import BROKEN, connect_async, renew_async
from shared.settings import Settings

from .background_tasks import end, supervise
from .redis_guard import RedisGuard

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
_GLANCE_SECONDS = 0.05
_UNREADABLE = Form(None, outcome="failed")


class Awaited:
    """The results for one request: ``forms`` that arrived, and keys whose claim was given up."""

    def __init__(self) -> None:
        self.forms: dict[str, Form] = {}
        self.given_up: set[str] = set()
        self._open: set[str] = set()
        self._woken: asyncio.Event = asyncio.Event()

    def note(self, key: str, form: Form) -> None:
        """Store a reply; only the first form of a block counts."""
        if form.outcome == GIVEN_UP.outcome:
            self.given_up.add(key)
        else:
            self.forms.setdefault(key, form)
            self._open.discard(key)
        if not self._open or self.given_up:
            self._woken.set()

    async def wait(self, wanted: Collection[str], seconds: float) -> None:
        """Wait for all ``wanted`` forms, a claim given up, or ``seconds``, whichever is first."""
        self._open = {key for key in wanted if key not in self.forms}
        if not self._open or self.given_up:
            return
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()


class ResultInbox:
    """This process's reply list, and the requests that wait for blocks.

    ``arrived`` is called with the user tag and the block key of each result.
    """

    def __init__(self, settings: Settings, state: RedisGuard) -> None:
        self._settings = settings
        self._state = state
        self._claiming = Claiming(state.client)
        self._redis = connect_async(settings, blocking_seconds=_POLL_SECONDS)
        self.key = keys.replies(secrets.token_hex(8))
        self.arrived: Callable[[str, str], None] = lambda user, key: None
        self._waiting: dict[tuple[str, str], set[Awaited]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start receiving."""
        self._task = supervise("replies", self._receive, essential=True)

    async def stop(self) -> None:
        """Stop receiving and close the connection."""
        await end([self._task])
        await self._redis.aclose()

    @contextmanager
    def awaited(self, user: str, wanted: Iterable[str]) -> Iterator[Awaited]:
        """Collect replies for ``user``'s block keys ``wanted`` while the context is open."""
        awaited = Awaited()
        names = list(wanted)
        for key in names:
            self._waiting.setdefault((user, key), set()).add(awaited)
        try:
            yield awaited
        finally:
            for key in names:
                waiters = self._waiting[(user, key)]
                waiters.discard(awaited)
                if not waiters:
                    del self._waiting[(user, key)]

    def hand_over(self, user: str, key: str, form: Form) -> None:
        """Pass a block's form to all requests of this process that wait for it."""
        for awaited in self._waiting.get((user, key), ()):
            awaited.note(key, form)

    async def _receive(self) -> None:
        # If requests are waiting already, this task was restarted, and results it popped are lost.
        broken = bool(self._waiting)
        seconds = _GLANCE_SECONDS if broken else _POLL_SECONDS
        while True:
            try:
                popped: Any = await self._redis.blmpop(
                    seconds, 1, self.key, direction="LEFT", count=64
                )
            except BROKEN:
                # A short poll shows at once whether Redis is available again.
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
        """Look up lost results in the session caches."""
        lost: dict[str, list[str]] = {}
        for user, key in self._waiting:
            lost.setdefault(user, []).append(key)
        for user, wanted in [
            (user, names[start : start + KEYS_A_CALL])
            for user, names in lost.items()
            for start in range(0, len(names), KEYS_A_CALL)
        ]:
            asked = self._claiming.look_up(user, wanted)
            try:
                deadline = Deadline.after(2 * self._settings.redis_timeout)
                found = await self._state.ask(asked, deadline, user)
            except Degraded:
                continue
            for key, packed in zip(wanted, found, strict=True):
                if isinstance(packed, bytes):
                    self._arrive(user, key, packed)

    def _deliver(self, packed: bytes) -> None:
        try:
            reply = unpack_reply(packed)
        except (msgspec.DecodeError, ValueError):
            _log.warning("reply_unreadable", bytes=len(packed))
            return
        self._arrive(reply.user, reply.key, reply.form)

    def _arrive(self, user: str, key: str, packed: bytes) -> None:
        try:
            form = unpack_form(packed)
        except (msgspec.DecodeError, ValueError):  # written by another version
            _log.warning("form_unreadable", bytes=len(packed))
            form = _UNREADABLE
        if form.outcome != GIVEN_UP.outcome:
            self.arrived(user, key)
        self.hand_over(user, key, form)
