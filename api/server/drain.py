"""Shutdown of a front end by draining, so that no request is cut off before its deadline.

Gunicorn's own asyncio worker waits for idle keep-alive connections as if they were requests, is
killed by its master meanwhile, and on SIGHUP ends before its successor serves. Here, after the
first SIGTERM (or SIGINT):

1. ``/readyz`` answers 503 ``draining`` and every answer carries ``Connection: close``; for
   ``HEADROOM_DRAIN_SECONDS`` new connections are still served, for load balancers to notice.
2. The listening socket is released. Requests continue until their deadlines; a connection that has
   been idle for :data:`IDLE_POLLS` polls, one second, is closed.
3. Streams that are still open end with an error of their API, where they are between two events.
4. The application's parts stop, and the process ends.

A second SIGTERM ends it at once. SIGHUP starts new processes behind the same listening socket, and
the old ones drain when the new ones serve.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.asgi.lifespan import LifespanManager
from gunicorn.workers import gasgi

from shared.gc_freeze import keep_what_is_loaded
from shared.readiness import heard, readiness, tell
from shared.settings import Settings
from shared.sockets import listens, stop_listening

from ..runtime.background_tasks import health
from .accept import Listener
from .connection import BoundedConnection, raise_file_limit

_POLL_SECONDS = 0.05
_NOTIFY_SECONDS = 1.0
IDLE_POLLS = 20
"""Polls (one second) after which an unused connection is idle. Counted in polls and not by the
clock, because a process that was not scheduled for a second has read nothing."""
_CLOSING_SECONDS = 6
"""Seconds a process may take beyond its last request's deadline: gunicorn's tick of a second, idle
connections, and closing the ledger and the connections to Redis and Postgres."""
_LAST_WORDS_SECONDS = 1
"""Seconds to send the errors that end open streams; a part of :data:`_CLOSING_SECONDS`."""
_HANG_SECONDS = 60
_START_SECONDS = 30.0
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""The signals that end a process. They are blocked from its fork until its event loop runs: one
that came meanwhile would be lost, to its master's handlers or to a loop that does not look yet,
and the process would go on until its master killed it."""


def drain_limit(settings: Settings) -> int:
    """Return the seconds after SIGTERM within which a front end has ended by itself."""
    return round(settings.drain_seconds + settings.request_seconds) + _CLOSING_SECONDS + 1


def hang_limit(settings: Settings) -> int:
    """Return gunicorn's ``timeout`` in seconds: for a silent process, and for a silent body.

    It is longer than any deadline, so gunicorn ends no request before that.
    """
    return max(_HANG_SECONDS, settings.deadline_ms // 1000 + _HANG_SECONDS // 2)


class Connection(BoundedConnection):
    """A client's connection that its process keeps track of."""

    _decided: tuple[Any, bool] = (None, False)

    def connection_made(self, transport: Any) -> None:
        """Register it."""
        self.worker.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister it."""
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether it waits for a request's head."""
        return bool(self._awaiting_request)

    def close(self) -> None:
        """Close it gracefully."""
        self._keepalive_timeout()

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        """Return whether the connection closes after an answer, as the answer's head announced.

        Called again when the answer is complete; draining may have started in between.
        """
        if self._decided[0] is not request:
            self._decided = (request, self.worker.app.drain.asked)
        closes: bool = super()._will_close(request, response_requires_close)
        return self._decided[1] or closes


class FrontEnd(gasgi.ASGIWorker):
    """One front-end process. ``self.app`` is the :class:`~api.server.Server`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: set[Connection] = set()
        self._draining: asyncio.Task[None] | None = None

    def init_process(self) -> None:
        """Serve with connections that are limited and can be drained."""
        raise_file_limit(self.app.settings.max_connections)
        super().init_process()

    async def _serve(self) -> None:
        """Serve until stopped, as gunicorn does, with listeners that keep up."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        self.lifespan = LifespanManager(self.asgi, self.log, self.state)
        try:
            await self.lifespan.startup()
            keep_what_is_loaded()
            for held in self.sockets:
                taken = Listener(self.loop, held.sock, lambda: Connection(self), self.cfg.backlog)
                self.servers.append(taken)
        except Exception as error:
            self.log.error("The front end cannot start: %s", error)
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from error
        for pipe in self.app.ready_pipes:
            tell(pipe)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            if health.given_up is not None:
                self.handle_exit_signal()  # the master puts a new process in its place
            await asyncio.sleep(_NOTIFY_SECONDS)
        await self._shutdown()

    def handle_exit_signal(self) -> None:
        """Start draining (SIGTERM). Idempotent: gunicorn sends SIGTERM more than once.

        The worker stays ``alive`` until its connections are closed: gunicorn cuts the connections
        of a worker that is not.
        """
        if not self.app.drain.asked:
            self.app.drain.asked = True
            self._draining = self.loop.create_task(self._drain(), name="drain")

    async def _drain(self) -> None:
        await self._until(lambda: False, self.app.settings.drain_seconds)
        await self._let_go()
        self.alive = False

    async def _shutdown(self) -> None:
        """Stop the parts; if the master died, first finish requests and free the port."""
        if not self.app.drain.asked:
            await self._let_go()
        if self.lifespan and not self._quick_shutdown:
            await self.lifespan.shutdown()

    async def _let_go(self) -> None:
        """Release the socket and finish running requests."""
        settings: Settings = self.app.settings
        for server in self.servers:
            server.close()
        looks: dict[Connection, tuple[int, int]] = {}

        def gone() -> bool:
            for one in list(self.connections):
                requests, idle = looks.get(one, (-1, 0))
                same = one.idle and one.req_count == requests
                looks[one] = (one.req_count, idle + 1 if same else 0)
                if idle >= IDLE_POLLS:
                    one.close()
            return not self.connections

        await self._until(gone, settings.request_seconds + 1)
        if self.connections:
            self.app.drain.leave_clients()
            await self._until(gone, _LAST_WORDS_SECONDS)

    async def _until(self, over: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._quick_shutdown and time.monotonic() < end and not over():
            self.notify()
            await asyncio.sleep(_POLL_SECONDS)


class Master(Arbiter):
    """Starts and stops the front-end processes of one command."""

    def __init__(self, app: Any) -> None:
        self._told = False
        self._wanted = 0
        self._ready, pipe = readiness()
        app.ready_pipes.append(pipe)
        super().__init__(app)

    def start(self) -> None:
        """Prepare to start processes; the socket does not listen before the first of them serves.

        Gunicorn would listen from here on, and early clients would wait unseen.
        """
        taken_over = any(listens(bind) for bind in self.address if isinstance(bind, int))
        super().start()
        if not taken_over:
            for held in self.LISTENERS:
                stop_listening(held.sock)

    def spawn_worker(self) -> int:
        """Start a process; return its id."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Record a signal; a second SIGTERM or SIGINT ends all processes at once."""
        if sig in (signal.SIGTERM, signal.SIGINT):
            if self._told:
                self.kill_workers(signal.SIGKILL)
                os._exit(128 + sig)
            self._told = True
            sig = signal.SIGTERM
        super().signal(sig, frame)

    def reload(self) -> None:
        """Replace the processes (SIGHUP); the old ones drain when the new ones serve."""
        while heard(self._ready, 4096):
            pass  # written by processes that were started one by one
        self._wanted = self.cfg.workers
        try:
            super().reload()
        finally:
            self._wanted = 0

    def manage_workers(self) -> None:
        """Keep the number of processes; during a reload, wait for the new ones."""
        end = time.monotonic() + _START_SECONDS
        while self._wanted > 0 and time.monotonic() < end:
            self.reap_workers()
            self._wanted -= heard(self._ready, self._wanted)
            time.sleep(_POLL_SECONDS)
        super().manage_workers()
