"""Raw connections, to send what no HTTP client would."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import NamedTuple

from ..farm import Farm


class Reply(NamedTuple):
    """The answer received before the server closed the connection or the time was up."""

    status: int
    text: str

    def header(self, name: str) -> str:
        """Return a header's value; empty if it is missing."""
        for line in self.text.split("\r\n\r\n", 1)[0].split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return ""


def connect(farm: Farm, seconds: float = 30.0) -> socket.socket:
    """Connect to the front end."""
    return socket.create_connection(("127.0.0.1", farm.port), timeout=seconds)


def say(farm: Farm, *pieces: bytes, seconds: float = 30.0) -> Reply:
    """Send raw ``pieces`` and return the first answer."""
    with closing(connect(farm, seconds)) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return hear(connection)


def hear(connection: socket.socket) -> Reply:
    """Return the next answer; status 0 if the server closes without one."""
    got = b""
    try:
        while b"\r\n\r\n" not in got:
            more = connection.recv(65536)
            if not more:
                break
            got += more
        head, _, body = got.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            ),
            0,
        )
        while len(body) < length:
            more = connection.recv(65536)
            if not more:
                break
            body += more
            got += more
    except ConnectionError:
        pass
    text = got.decode("latin-1")
    words = text.split(" ", 2)
    return Reply(int(words[1]) if len(words) > 1 else 0, text)


def head(
    method: str = "POST", path: str = "/v1/compress", *lines: str, kind: str = "application/json"
) -> bytes:
    """Return a request's head."""
    given = [f"{method} {path} HTTP/1.1", "host: x", f"content-type: {kind}", *lines]
    return ("\r\n".join(given) + "\r\n\r\n").encode("latin-1")
