"""Free ports on loopback."""

from __future__ import annotations

import contextlib
import random
import socket

_FROM, _TO = 10_240, 32_768
"""Above the well-known ports, and below Linux's ephemeral ports: an outgoing connection could take
one of those before the server starts or restarts."""


def free_port() -> int:
    """Return a port on loopback that is not in use."""
    while True:
        port = random.randrange(_FROM, _TO)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
