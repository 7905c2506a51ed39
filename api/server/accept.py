"""A listening socket whose connections a busy process takes as fast as they come.

libuv, which uvloop runs on, takes one connection each time its loop comes round (libuv pull
request 3696), so that processes behind one socket share what comes. A loop that has much to
do comes round some dozens of times a second: clients would wait for seconds to be taken,
and nothing in the process could know, or count it against their deadlines.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_CONNECTION_SECONDS = 0.001
"""How long the loop may take to come round for each connection that is taken at once."""
_MOST = 256
_EXHAUSTED_SECONDS = 0.1
"""How long nobody is taken after the system refused (no more files, no memory)."""


class Listener:
    """Takes connections of ``sock``, a bound one; with the names of an ``asyncio.Server``.

    One connection is taken when the loop comes round, and one more for each millisecond that
    it took to: others behind the same socket get their share of a burst while this process is
    at rest.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        backlog: int,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._protocol = protocol
        self._at_once = 1
        self._again: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[object]] = set()
        self._closed = False
        sock.setblocking(False)
        sock.listen(backlog)  # where it listens already, others go on doing so
        loop.add_reader(sock, self._take)

    def close(self) -> None:
        """Take no more; the socket is closed here, what was taken goes on."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        if self._again is not None:
            self._again.cancel()
        self._sock.close()

    async def wait_closed(self) -> None:
        """Return when what was taken has become connections."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _take(self) -> None:
        for _ in range(self._at_once):
            try:
                taken, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError:
                self._loop.remove_reader(self._sock)
                self._again = self._loop.call_later(_EXHAUSTED_SECONDS, self._resume)
                break
            taken.setblocking(False)
            task = self._loop.create_task(self._open(taken), name="connection")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        self._loop.call_soon(self._came_round, self._loop.time())

    async def _open(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken)
        except OSError:  # the client has gone
            taken.close()

    def _came_round(self, since: float) -> None:
        self._at_once = 1 + min(_MOST, int((self._loop.time() - since) / _CONNECTION_SECONDS))

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._sock, self._take)
