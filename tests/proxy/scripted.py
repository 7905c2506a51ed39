"""A provider on loopback with scripted answers; it rejects requests that break the APIs' rules."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .rules import broken_rule

JSON = "application/json"
EVENTS = "text/event-stream"
Piece = bytes | Callable[[], Any]
"""Bytes to write, or a function to call (to wait, to check) before the next piece."""


@dataclass
class Asked:
    """A request as received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class Said:
    """An answer: ``pieces`` are written one by one; ``cut`` closes the connection early."""

    pieces: Iterable[Piece]
    status: int = 200
    kind: str = EVENTS
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def whole(answer: Any, status: int = 200, **headers: str) -> Said:
    """Return an answer that is not a stream."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Said([body], status, JSON, {"content-length": str(len(body)), **named})


class ScriptedProvider:
    """Serves until closed. Each model call gets the next answer of the script."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.broken: list[str] = []
        self.gone = threading.Event()
        self._answers: deque[Said | Callable[[Asked], Said]] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedProvider:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and close open connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def will_say(self, *answers: Said | Callable[[Asked], Said]) -> None:
        """Set the script: answers, or functions from request to answer; forget past requests."""
        self.asked.clear()
        self.gone.clear()
        self._answers.clear()
        self._answers.extend(answers)

    def answer_to(self, asked: Asked) -> Said:
        """Return a refusal if the request breaks a rule, else the next answer of the script."""
        self.asked.append(asked)
        rule = broken_rule(asked.path, asked.body)
        if rule:
            self.broken.append(rule)
            error = {"type": "invalid_request_error", "message": rule}
            return whole({"type": "error", "error": error}, 400)
        if not self._answers:
            return whole({"asked": len(asked.body)})
        answer = self._answers.popleft()
        return answer if isinstance(answer, Said) else answer(asked)


def _handler(provider: ScriptedProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments: Any) -> None:
            """Print nothing."""

        def _serve(self) -> None:
            body = b"".join(self._body())
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = provider.answer_to(Asked(self.command, self.path, headers, body))
            with suppress(ConnectionError):
                self._say(said)

        def _body(self) -> Iterator[bytes]:
            if self.headers.get("transfer-encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                yield self.rfile.read(int(self.headers.get("content-length") or 0))

        def _say(self, said: Said) -> None:
            chunked = "content-length" not in said.headers
            self.send_response(said.status)
            self.send_header("content-type", said.kind)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if chunked:
                self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for piece in said.pieces:
                    if not isinstance(piece, bytes):
                        piece()
                    elif self.command != "HEAD":
                        data = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                        self.wfile.write(data)
                        self.wfile.flush()
            except OSError:
                provider.gone.set()
                raise
            if said.cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = do_OPTIONS = _serve

    return Handler
