"""Detects that a client has disconnected before its answer was complete, or has to be left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import falcon.asgi

from ..http.request import AnswerCut, at_end
from .errors import draining

T = TypeVar("T")


class Presence:
    """Watches the client of one request whose body has been read.

    Only the server's ``receive`` reports a disconnect; data sent to a disconnected client is
    dropped without an error. ``left`` says that the front end ends and cannot wait any longer.
    """

    def __init__(self, req: falcon.asgi.Request) -> None:
        self.gone = False
        self.left = False
        self._calls: list[Callable[[], None]] = []
        self._receive = req.context.arrival
        self._task = asyncio.create_task(self._watch(), name="presence")
        at_end(req, self._stop)

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call ``call`` when the client disconnects or is left; immediately if it already is."""
        if self.gone or self.left:
            call()
        else:
            self._calls.append(call)

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``, which is cancelled if the client disconnects or is left.

        Raises:
            AnswerCut: the client has disconnected.
            UpstreamFailed: it was left.
        """
        task = asyncio.ensure_future(work)

        def cancel() -> None:
            task.cancel()

        self.when_gone(cancel)
        try:
            return await task
        except asyncio.CancelledError:
            if self.gone:
                raise AnswerCut from None
            if self.left:
                raise draining() from None
            raise
        finally:
            if cancel in self._calls:
                self._calls.remove(cancel)

    def leave(self) -> None:
        """End what the client waits for; its answer can still be completed."""
        self.left = True
        for call in list(self._calls):
            call()

    def _stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        for call in self._calls:
            call()
