"""The driver's HTTP client: one blocking keep-alive connection, as cheap as possible in Python.

The driver shares the machine with what it measures, so it must only move bytes: a body is sent
from slices of a buffer prepared beforehand, and an answer is read to its end but not parsed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

_CHUNK = 1 << 20


class HttpError(Exception):
    """The target answered with a status other than 200, or closed the connection early."""


class Connection:
    """One keep-alive HTTP/1.1 connection to a target.

    Not thread-safe. `url` is the target's root, such as `http://127.0.0.1:8080`; `timeout` is in
    seconds, for each socket operation.
    """

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"not an http URL: {url}")
        self._host = parts.netloc
        self._path = parts.path.rstrip("/")
        self._socket = socket.create_connection((parts.hostname, parts.port or 80), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_CHUNK)
        self._filled = 0

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def head(self, path: str, user: str, length: int) -> bytes:
        """Return the request head for a JSON POST of `length` bytes by `user`."""
        return (
            f"POST {self._path}{path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\nx-maas-username: {user}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode("ascii")

    def exchange(self, parts: Iterable[bytes | memoryview]) -> bytes:
        """Send one request, given in parts, and return the body of the answer.

        Raises:
            HttpError: The status is not 200, or the connection ended early.
            OSError: The socket failed or timed out.
        """
        self._send([memoryview(part) for part in parts])
        return self._receive()

    def _send(self, parts: list[memoryview]) -> None:
        while parts:
            sent = self._socket.sendmsg(parts)
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][sent:]

    def _receive(self) -> bytes:
        self._filled = 0
        end = self._until(b"\r\n\r\n", 0)
        status, *lines = bytes(self._buffer[: end - 4]).split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip().lower()
        if headers.get(b"transfer-encoding") == b"chunked":
            body = self._chunked(end)
        else:
            stop = end + int(headers.get(b"content-length", b"0"))
            self._fill(stop)
            body = bytes(memoryview(self._buffer)[end:stop])
        code = status.split(b" ", 2)[1]
        if code != b"200":
            raise HttpError(f"status {code.decode()}: {body[:300].decode(errors='replace')}")
        return body

    def _chunked(self, at: int) -> bytes:
        chunks: list[bytes] = []
        while True:
            start = self._until(b"\r\n", at)
            size = int(bytes(self._buffer[at : start - 2]).partition(b";")[0], 16)
            if size == 0:
                while self._buffer[start : (at := self._until(b"\r\n", start))] != b"\r\n":
                    start = at  # a trailer line
                return b"".join(chunks)
            at = start + size + 2
            self._fill(at)
            chunks.append(bytes(memoryview(self._buffer)[start : at - 2]))

    def _until(self, mark: bytes, start: int) -> int:
        """Read until `mark` occurs at or after `start`; return its end."""
        while (found := self._buffer.find(mark, start, self._filled)) < 0:
            self._more(_CHUNK // 4)
        return found + len(mark)

    def _fill(self, stop: int) -> None:
        """Read until the buffer holds `stop` bytes."""
        while self._filled < stop:
            self._more(stop - self._filled)

    def _more(self, room: int) -> None:
        if len(self._buffer) < self._filled + room:
            self._buffer.extend(bytes(self._filled + room - len(self._buffer)))
        got = self._socket.recv_into(memoryview(self._buffer)[self._filled :])
        if got == 0:
            raise HttpError("the connection ended within an answer")
        self._filled += got
