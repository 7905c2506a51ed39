"""Ports of loopback, for what is started beside others."""

from __future__ import annotations

import contextlib
import random
import socket

_FROM, _TO = 10_240, 32_768
"""Above the ports that servers are known by, and below those that Linux gives to outgoing
connections: one of these would take a port before its server starts, or starts again."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    while True:
        port = random.randrange(_FROM, _TO)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
