"""How a process tells its supervisor that it does its work now: a byte in a pipe."""

from __future__ import annotations

import contextlib
import os


def tell(pipe: int | None) -> None:
    """Write a byte to ``pipe``; nobody need be there to read it, nor a pipe be given."""
    if pipe is not None:
        with contextlib.suppress(OSError):
            os.write(pipe, b"+")


def heard(pipe: int, most: int) -> int:
    """Return how many bytes came since the last call, at most ``most``; never wait."""
    try:
        return len(os.read(pipe, most))
    except BlockingIOError:
        return 0


def readiness() -> tuple[int, int]:
    """Return the ends of a new pipe, to read and to write; neither blocks."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer
