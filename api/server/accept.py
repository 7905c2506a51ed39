"""A listening socket whose connections a busy process accepts as fast as they arrive.

libuv, which uvloop runs on, accepts one connection per loop iteration (libuv pull request 3696), so
that processes behind one socket share the load. A busy loop iterates a few dozen times per second:
clients would wait for seconds to be accepted, and the process could neither notice that nor count
it against their deadlines.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_CONNECTION_SECONDS = 0.001
"""Duration of a loop iteration for which one more connection is accepted at once."""
_MOST = 256
_EXHAUSTED_SECONDS = 0.1
"""Pause after the system refused a connection (no more file descriptors or memory)."""


class Listener:
    """Accepts connections of the bound ``sock``; has the methods of an ``asyncio.Server``.

    Each loop iteration accepts one connection, and one more for each millisecond that the
    iteration took, so that other processes behind the same socket get their share of a burst while
    this one is idle.
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
        sock.listen(backlog)  # a socket that already listens keeps listening
        loop.add_reader(sock, self._take)

    def close(self) -> None:
        """Stop accepting and close the socket; accepted connections continue."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        if self._again is not None:
            self._again.cancel()
        self._sock.close()

    async def wait_closed(self) -> None:
        """Return when all accepted sockets have become connections."""
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
