"""A listening socket that outlives who listens on it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def listens(descriptor: int) -> bool:
    """Say whether somebody listens on the socket behind ``descriptor``."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def stop_listening(sock: socket.socket) -> None:
    """Have callers refused until somebody listens again, on the same port if that was asked for.

    Refused, they go on at once; kept waiting they would lose their deadline.
    """
    with suppress(OSError):  # nobody listens, or this system cannot
        sock.shutdown(socket.SHUT_RDWR)
