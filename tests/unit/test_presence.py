"""When a client disconnects, the work for its answer is cancelled."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.http.request import AnswerCut
from api.proxy.client_presence import Presence
from api.proxy.errors import UpstreamFailed

_SECONDS = 60
"""Timeout for events that happen at once or never."""


class _Client:
    """A request whose client disconnects when ``leave`` is called."""

    def __init__(self) -> None:
        self._left = asyncio.Event()
        self.scope: dict[str, Any] = {}
        self.context = SimpleNamespace(arrival=self._receive)

    def leave(self) -> None:
        self._left.set()

    def end(self) -> None:
        for calls in self.scope.values():
            for call in calls:
                call()

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


def test_work_is_cancelled_when_client_disconnects() -> None:
    async def run() -> None:
        client = _Client()
        presence = Presence(client)  # type: ignore[arg-type]
        closed: list[str] = []
        presence.when_gone(lambda: closed.append("answer"))
        cancelled = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        waiting = asyncio.create_task(presence.unless_gone(work()))
        await asyncio.sleep(0)
        client.leave()
        with pytest.raises(AnswerCut):
            await asyncio.wait_for(waiting, _SECONDS)
        assert cancelled.is_set()
        assert closed == ["answer"]
        presence.when_gone(lambda: closed.append("at once"))
        assert closed == ["answer", "at once"]
        client.end()

    asyncio.run(run())


def test_work_finishes_while_client_stays_connected() -> None:
    async def run() -> None:
        client = _Client()
        presence = Presence(client)  # type: ignore[arg-type]

        async def work() -> int:
            await asyncio.sleep(0)
            return 7

        assert await presence.unless_gone(work()) == 7
        client.leave()
        await asyncio.sleep(0)
        client.end()

    asyncio.run(run())


def test_watching_ends_with_the_request() -> None:
    async def run() -> None:
        client = _Client()
        Presence(client)  # type: ignore[arg-type]
        client.end()
        await asyncio.sleep(0)
        assert [t for t in asyncio.all_tasks() if t.get_name() == "presence"] == []

    asyncio.run(run())


def test_client_that_is_left_waits_for_nothing() -> None:
    async def run() -> None:
        client = _Client()
        presence = Presence(client)  # type: ignore[arg-type]
        presence.leave()
        closed: list[str] = []
        presence.when_gone(lambda: closed.append("at once"))
        assert closed == ["at once"]
        with pytest.raises(UpstreamFailed):
            await asyncio.wait_for(presence.unless_gone(asyncio.Event().wait()), _SECONDS)
        client.end()

    asyncio.run(run())
