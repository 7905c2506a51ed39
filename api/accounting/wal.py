"""The ledger's local buffer: entries on disk until Redis has them on its own disk.

A writer has a lock file and numbered segments in one directory. Whoever finds a writer
whose lock nobody holds takes its entries over: they carry their writer's name and number,
so what Redis already has is not written again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from .usage_record import UsageRecord

_log = structlog.get_logger(__name__)
RETRY_SECONDS = 1.0
"""How long after the disk refused a line it is asked again."""


class Line(msgspec.Struct, frozen=True):
    """An entry and its number among its writer's."""

    seq: int
    entry: UsageRecord


_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


class WriteAheadLog:
    """This process's own segments. Errors of the disk are logged, never raised.

    Lines that the disk refused stay in memory, within the limit, and are written before the next
    line once the disk takes them: it is tried again every :data:`RETRY_SECONDS`.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self.writer = f"{int(time.time())}-{secrets.token_hex(6)}"
        self._lock = -1
        self._file = -1
        self._number = 0
        self._sizes: dict[int, int] = {}
        self._unwritten: deque[tuple[int, bytes]] = deque()
        self._torn = False
        self._broken = False
        self._retry_at = 0.0

    def open(self) -> None:
        """Take the lock; while the directory cannot be written, entries stay in memory."""
        try:
            self._take_lock()
        except OSError as error:
            self._fail(error)

    def _take_lock(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{self.writer}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def append(self, line: Line) -> bool:
        """Write one line; False where the buffer is full and the entry cannot be kept."""
        if self.size >= self._limit:
            return False
        data = _encode(line) + b"\n"
        self._sizes[self._number] = self._sizes.get(self._number, 0) + len(data)
        self._unwritten.append((self._number, data))
        if not self._broken or time.monotonic() >= self._retry_at:
            try:
                self._write()
            except OSError as error:
                self._fail(error)
        return True

    def _write(self) -> None:
        """Write the lines that wait, in order.

        Raises:
            OSError: the disk refused; those that it did not take whole wait on.
        """
        if self._lock < 0:
            self._take_lock()
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(self._segment(self._number), flags, 0o600)
        while self._unwritten:
            _, data = self._unwritten[0]
            if self._torn:  # a part of a line stands there: it ends here, and is passed over
                data = b"\n" + data
            self._torn = True
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
            self._torn = False
            self._unwritten.popleft()
        if self._broken:
            _log.info("ledger_journal_on")
            self._broken = False

    def rotate(self) -> int:
        """Begin a new segment; return the number that all older segments are below."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._number += 1
        return self._number

    def forget(self, below: int) -> None:
        """Drop the segments below a number: Redis has them."""
        for number in [n for n in self._sizes if n < below]:
            del self._sizes[number]
            self._segment(number).unlink(missing_ok=True)
        while self._unwritten and self._unwritten[0][0] < below:
            self._unwritten.popleft()

    def close(self, *, clean: bool) -> None:
        """Give the lock up; with ``clean`` nothing is left to take over."""
        if self._unwritten and not clean:
            try:
                self._write()
            except OSError as error:
                self._fail(error)
        below = self.rotate()
        if clean:
            self.forget(below)
            (self._directory / f"{self.writer}.lock").unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(self._sizes.values())

    def _segment(self, number: int) -> Path:
        return self._directory / f"{self.writer}.{number:09d}.jsonl"

    def _fail(self, error: OSError) -> None:
        if not self._broken:
            _log.error("ledger_journal_off", error=type(error).__name__, errno=error.errno)
        self._broken = True
        self._retry_at = time.monotonic() + RETRY_SECONDS


@dataclass(frozen=True, slots=True)
class Orphan:
    """A writer that is gone, its lock now held here, and the lines it left in order."""

    writer: str
    lines: list[Line]
    _lock: int
    _directory: Path

    def bury(self) -> None:
        """Remove its files: Redis has its entries."""
        for path in self._directory.glob(f"{self.writer}.*"):
            path.unlink(missing_ok=True)
        os.close(self._lock)

    def leave(self) -> None:
        """Let somebody else try."""
        os.close(self._lock)


def orphans(directory: Path) -> Iterator[Orphan]:
    """Yield the writers in ``directory`` that nobody is any more."""
    for path in sorted(directory.glob("*.lock")):
        try:
            lock = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        if not path.exists():  # buried between the two lines above
            os.close(lock)
            continue
        writer = path.name.removesuffix(".lock")
        yield Orphan(writer, list(_lines(directory, writer)), lock, directory)


def _lines(directory: Path, writer: str) -> Iterator[Line]:
    for path in sorted(directory.glob(f"{writer}.*.jsonl")):
        for data in path.read_bytes().split(b"\n"):
            if not data:
                continue
            try:
                yield _decode(data)
            except msgspec.DecodeError:  # cut off in the middle of its last line
                _log.warning("ledger_line_unreadable", writer=writer)
