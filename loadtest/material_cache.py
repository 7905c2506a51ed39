"""Caches collected material in files, so that one process collects it for all others."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

FOLDER_VARIABLE: Final = "LOADTEST_MATERIAL"
"""Names an existing folder for the files; without it nothing is cached. Its owner removes it: the
files are of one machine with one set of installed packages."""

_T = TypeVar("_T")


def cached(name: str, collect: Callable[[], _T], kind: type[_T]) -> _T:
    """Return what ``collect`` returns, of type ``kind``; of several processes only one calls it."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return collect()
    path = Path(folder, f"{name}.msgpack")
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        file.seek(0)
        if packed := file.read():
            return msgspec.msgpack.decode(packed, type=kind)
        found = collect()
        file.write(msgspec.msgpack.encode(found))
        return found
