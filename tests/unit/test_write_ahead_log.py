"""The journal keeps every entry while the disk temporarily refuses writes."""

from __future__ import annotations

import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from api.accounting import write_ahead_log as wal
from api.accounting.usage_record import refused
from api.accounting.write_ahead_log import Line, WriteAheadLog, orphans

LIMIT = 1 << 20


class Disk:
    """``os.write`` to a disk with ``room`` bytes left; None means no limit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._write = os.write
        monkeypatch.setattr(wal.os, "write", self.write)
        monkeypatch.setattr(wal, "RETRY_SECONDS", 0.0)

    def write(self, file: int, data: bytes) -> int:
        if self.room is None:
            return self._write(file, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(file, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@cache
def line(number: int) -> Line:
    return Line(number, refused(f"type-{number}"))


def left_by(journal: WriteAheadLog, directory: Path) -> list[Any]:
    """Return the entries that another process finds after this journal's process has died."""
    os.close(journal._lock)
    (orphan,) = orphans(directory)
    orphan.release()
    return orphan.lines


@pytest.mark.parametrize("room", [0, 7])
def test_journals_all_entries_once_disk_has_room(tmp_path: Path, disk: Disk, room: int) -> None:
    journal = WriteAheadLog(tmp_path, LIMIT)
    journal.open()
    assert journal.append(line(1))
    disk.room = room
    for number in (2, 3):
        assert journal.append(line(number))
    disk.room = None
    assert journal.append(line(4))
    assert left_by(journal, tmp_path) == [line(number) for number in (1, 2, 3, 4)]


def test_journals_after_directory_could_not_be_made(tmp_path: Path, disk: Disk) -> None:
    obstacle = tmp_path / "ledger"
    obstacle.write_text("")
    journal = WriteAheadLog(obstacle, LIMIT)
    journal.open()
    assert journal.append(line(1))
    obstacle.unlink()
    assert journal.append(line(2))
    assert left_by(journal, obstacle) == [line(1), line(2)]


def test_writes_no_entry_that_redis_has(tmp_path: Path, disk: Disk) -> None:
    journal = WriteAheadLog(tmp_path, LIMIT)
    journal.open()
    disk.room = 0
    assert journal.append(line(1))
    journal.forget(journal.rotate())
    assert journal.append(line(2))
    disk.room = None
    assert journal.append(line(3))
    assert left_by(journal, tmp_path) == [line(2), line(3)]


def test_entry_beyond_the_limit_is_refused_until_redis_has_others(tmp_path: Path) -> None:
    journal = WriteAheadLog(tmp_path, 1)
    journal.open()
    assert journal.append(line(1))
    assert not journal.append(line(2))
    journal.forget(journal.rotate())
    assert journal.append(line(3))
    assert left_by(journal, tmp_path) == [line(3)]


def test_disk_without_room_is_asked_again_only_after_a_while(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "RETRY_SECONDS", 3600.0)
    journal = WriteAheadLog(tmp_path, LIMIT)
    journal.open()
    disk.room = 0
    assert journal.append(line(1))
    disk.room = None
    assert journal.append(line(2))
    assert not list(orphans(tmp_path))  # its lock is held
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0
    journal.close(clean=False)
    (orphan,) = orphans(tmp_path)
    orphan.release()
    assert orphan.lines == [line(1), line(2)]
