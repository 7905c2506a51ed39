"""The ledger's local buffer: entries on disk until Redis has them on its own disk.

A writer has a lock file and numbered segments in one directory. If a writer's lock is free, another
process sends its entries. They carry their writer's name and a sequence number, so Redis does not
count them twice.
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
"""Seconds between attempts to write after a write has failed."""


class Line(msgspec.Struct, frozen=True):
    """An entry and its sequence number."""

    seq: int
    entry: UsageRecord


_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


class WriteAheadLog:
    """This process's own segments. Disk errors are logged, never raised.

    Lines that could not be written stay in memory, within the limit; they are tried again before
    the next line, at most every :data:`RETRY_SECONDS`.
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
        """Acquire the lock; while the directory is not writable, entries stay in memory."""
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
        """Write one line; return False if the buffer is full and the line is lost."""
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
        """Write the waiting lines, in order.

        Raises:
            OSError: Writing failed; lines that were not written completely keep waiting.
        """
        if self._lock < 0:
            self._take_lock()
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(self._segment(self._number), flags, 0o600)
        while self._unwritten:
            _, data = self._unwritten[0]
            if self._torn:  # end the partly written line here; readers skip it
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
        """Start a new segment; return its number, which is higher than that of any older one."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._number += 1
        return self._number

    def forget(self, below: int) -> None:
        """Delete the segments with lower numbers: Redis has their entries."""
        for number in [n for n in self._sizes if n < below]:
            del self._sizes[number]
            self._segment(number).unlink(missing_ok=True)
        while self._unwritten and self._unwritten[0][0] < below:
            self._unwritten.popleft()

    def close(self, *, clean: bool) -> None:
        """Release the lock. ``clean`` means that no entries are left; the files are deleted."""
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
        """Bytes of lines that Redis does not have yet."""
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
    """A writer that has ended, whose lock this process now holds, and its remaining lines."""

    writer: str
    lines: list[Line]
    _lock: int
    _directory: Path

    def remove(self) -> None:
        """Delete its files: Redis has its entries."""
        for path in self._directory.glob(f"{self.writer}.*"):
            path.unlink(missing_ok=True)
        os.close(self._lock)

    def release(self) -> None:
        """Release its lock, so that another process can try."""
        os.close(self._lock)


def orphans(directory: Path) -> Iterator[Orphan]:
    """Yield the ended writers in ``directory``."""
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
        if not path.exists():  # removed between the two lines above
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
            except msgspec.DecodeError:  # its last line is incomplete
                _log.warning("ledger_line_unreadable", writer=writer)
