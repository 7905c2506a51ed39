"""A listening socket that outlives the process that listens on it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def listens(descriptor: int) -> bool:
    """Return whether the socket behind ``descriptor`` is listening."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def stop_listening(sock: socket.socket) -> None:
    """Refuse connections until a process listens again, on the same port if one was given.

    A refused client proceeds at once; one that waited would miss its deadline.
    """
    with suppress(OSError):  # not listening, or not supported by this system
        sock.shutdown(socket.SHUT_RDWR)


def authority(host: str, port: int) -> str:
    """Return ``host:port`` as in a URL: an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
