"""Detects that a client has disconnected before its answer was complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import falcon.asgi

from ..http.request import AnswerCut, at_end

T = TypeVar("T")


class Presence:
    """Watches one request's client, once its body has been read.

    Only the server's ``receive`` says that a client has gone: what is sent to it is dropped
    without a word.
    """

    def __init__(self, req: falcon.asgi.Request) -> None:
        self.gone = False
        self._calls: list[Callable[[], None]] = []
        self._receive = req.context.arrival
        self._task = asyncio.create_task(self._watch(), name="presence")
        at_end(req, self._stop)

    def when_gone(self, call: Callable[[], None]) -> None:
        """Have ``call`` called when the client goes, at once where it has gone."""
        if self.gone:
            call()
        else:
            self._calls.append(call)

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns; it is cancelled when the client goes.

        Raises:
            AnswerCut: the client has gone.
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
