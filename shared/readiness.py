"""How a process tells its supervisor that it is ready: a byte in a pipe."""

from __future__ import annotations

import contextlib
import os


def tell(pipe: int | None) -> None:
    """Write a byte to ``pipe``; does nothing without a pipe or a reader."""
    if pipe is not None:
        with contextlib.suppress(OSError):
            os.write(pipe, b"+")


def heard(pipe: int, most: int) -> int:
    """Return how many bytes arrived since the last call, at most ``most``; never blocks."""
    try:
        return len(os.read(pipe, most))
    except BlockingIOError:
        return 0


def readiness() -> tuple[int, int]:
    """Return the read and the write end of a new non-blocking pipe."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer
