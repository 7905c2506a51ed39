"""Detects that a client has disconnected before its answer was complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import falcon.asgi

from ..http.request import AnswerCut, at_end

T = TypeVar("T")


class Presence:
    """Watches the client of one request whose body has been read.

    Only the server's ``receive`` reports a disconnect; data sent to a disconnected client is
    dropped without an error.
    """

    def __init__(self, req: falcon.asgi.Request) -> None:
        self.gone = False
        self._calls: list[Callable[[], None]] = []
        self._receive = req.context.arrival
        self._task = asyncio.create_task(self._watch(), name="presence")
        at_end(req, self._stop)

    def when_gone(self, call: Callable[[], None]) -> None:
        """Call ``call`` when the client disconnects; immediately if it already has."""
        if self.gone:
            call()
        else:
            self._calls.append(call)

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``, which is cancelled if the client disconnects.

        Raises:
            AnswerCut: the client has disconnected.
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
            raise
        finally:
            if not self.gone:
                self._calls.remove(cancel)

    def _stop(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        for call in self._calls:
            call()
