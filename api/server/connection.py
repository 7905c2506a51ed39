"""A client's connection, with limits that gunicorn's own lacks.

Gunicorn's asyncio protocol waits indefinitely for the first request's head, for a slow body, and
for a client that does not read its answer. Here a head must arrive within
``HEADROOM_READ_TIMEOUT_SECONDS`` (else 408); a body and an answer must each make progress within
the same time, or the connection is closed. A process serves ``HEADROOM_MAX_CONNECTIONS`` at once
and closes any further one without an answer. Requests that gunicorn itself refuses (a head that is
not HTTP) get the contract's error body and headers.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol

from ..http.middleware import error_body
from ..http.request import ARRIVED
from ..http.security_headers import ANSWER_HEADERS

_STEP_BYTES = 32 * 1024
"""Bytes of its answer that a slow client must read within the timeout."""
_BODY_STEP_BYTES = 256 * 1024
"""Bytes of a body that must arrive within each timeout if its end does not: 9 KB/s by default."""


class BoundedConnection(ASGIProtocol):
    """One connection of a worker whose ``app`` is a :class:`~api.server.Server`."""

    _read_timer: asyncio.TimerHandle | None = None
    _begun = False
    _arrived = 0.0
    _came = 0
    _held = False
    _stalled = 0.0
    _answering = False
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timeout of the first request."""
        super().connection_made(transport)
        if self.worker.nr_conns > self.worker.app.settings.max_connections:
            self._close_transport()
        else:
            self._start_read_timer()

    def data_received(self, data: bytes) -> None:
        """Process received data; unexpected input is answered with 400."""
        self._came += len(data)
        try:
            super().data_received(data)
        except Exception:  # for example a length of 5000 digits
            self._send_error_response(400, "")
            self._close_transport()

    def _feed_callback_parser(self, data: bytes) -> Any:
        """Parse received or pipelined data; the first bytes of a head start its timeout."""
        if self._read_timer is None and not self._callback_parser.is_complete:
            self._start_read_timer()
        self._begun = True
        return super()._feed_callback_parser(data)

    def _on_headers_complete(self) -> Any:
        self._start_read_timer()
        self._arrived = time.monotonic()
        return super()._on_headers_complete()

    def _is_websocket_upgrade(self, request: Any) -> bool:
        """Serve a WebSocket handshake as the GET that it is: nothing here speaks the protocol."""
        return False

    def _build_http_scope(self, *arguments: Any) -> dict[str, Any]:
        """Add when the request's head arrived: a busy loop handles it later."""
        scope: dict[str, Any] = super()._build_http_scope(*arguments)
        scope[ARRIVED] = self._arrived
        return scope

    def _on_message_complete(self) -> None:
        self._stop_read_timer()
        super()._on_message_complete()

    def _send_response_start(self, *arguments: Any, **more: Any) -> None:
        self._answering = True
        super()._send_response_start(*arguments, **more)

    def _pause_reading(self) -> None:
        self._held = True
        super()._pause_reading()

    def pause_writing(self) -> None:
        """The client reads slower than the answer is written; watch that it makes progress."""
        super().pause_writing()
        self._watch_write()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop_write_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers with the connection."""
        self._stop_read_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    @property
    def _patience(self) -> float:
        seconds: float = self.worker.app.settings.read_timeout_seconds
        return seconds

    def _start_read_timer(self) -> None:
        self._stop_read_timer()
        self._begun = self._answering = False
        self._stalled = 0.0
        self._await_progress()

    def _await_progress(self) -> None:
        self._came, self._held = 0, self._reading_paused
        self._read_timer = self.worker.loop.call_later(self._patience, self._read_late)

    def _body_flows(self) -> bool:
        """Return whether enough of a body came, or the farm itself held it back.

        The farm reads no faster than a provider to which it forwards the body.
        """
        if self._body_receiver is None or not (self._held or self._came >= _BODY_STEP_BYTES):
            return False
        self._stalled = 0.0 if self._came else self._stalled + self._patience
        idle: float = self.worker.app.settings.upstream_idle_seconds
        return self._stalled < idle

    def _read_late(self) -> None:
        """End a request that does not arrive; a connection without any data gets no answer."""
        self._read_timer = None
        if self._closed:
            return
        if self._body_flows():
            self._await_progress()
            return
        receiver = self._body_receiver
        if not self._answering and (self._begun or receiver is not None):
            self._send_error_response(
                408, f"too little of the request arrived in {self._patience:g} s"
            )
        self._close_transport()
        if receiver is not None:
            receiver.signal_disconnect()
        self._request_ready.set()

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _watch_write(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._write_timer = self.worker.loop.call_later(self._patience, self._write_late, waiting)

    def _write_late(self, before: int) -> None:
        if self.transport.get_write_buffer_size() > before - _STEP_BYTES:
            self.transport.abort()
        else:
            self._watch_write()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _send_error_response(
        self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send the contract's error body; it never quotes the request."""
        phrase = HTTPStatus(status).phrase
        kind = phrase.lower().replace(" ", "_").replace("-", "_")
        said = message if status == 408 else "this is not a valid HTTP request"
        body = error_body(kind, said)
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *ANSWER_HEADERS,
            *extra_headers,
        ]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._safe_write(f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1") + body)


def raise_file_limit(connections: int) -> None:
    """Raise this process's file descriptor limit: each connection is a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
