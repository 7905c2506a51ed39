"""Figures of processes that share a directory outlive damaged and vanished files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from api.accounting.metrics_of_processes import Figures, ProcessBoard

PORT = 8123


def _board(directory: Path, count: int) -> ProcessBoard:
    board = ProcessBoard(directory, PORT, lambda: _figures(count))
    board.open()
    return board


def _figures(count: int) -> Figures:
    return Figures(0.0, True, False, 0, None, 0, [], {"requests": count})


def _ended(directory: Path) -> Path:
    (found,) = directory.glob("*.ended")
    return found


def test_counters_of_ended_processes_are_added(tmp_path: Path) -> None:
    _board(tmp_path, 5).close()
    board = _board(tmp_path, 2)
    assert board.read().counters == {"requests": 7}
    board.close()


def test_damaged_file_leaves_the_last_counters(tmp_path: Path) -> None:
    _board(tmp_path, 5).close()
    board = _board(tmp_path, 2)
    board.read()
    _ended(tmp_path).write_bytes(b'{"requests": ')
    assert board.read().counters == {"requests": 7}
    _board(tmp_path, 3).close()
    assert board.read().counters == {"requests": 10}
    fresh = _board(tmp_path, 1)
    assert fresh.read().counters == {"requests": 11}
    fresh.close()
    board.close()


def test_full_disk_keeps_the_ended_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _board(tmp_path, 5).close()
    board = _board(tmp_path, 2)
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: _half(file, data, at))
    assert board.read().counters == {"requests": 2}
    monkeypatch.undo()
    assert board.read().counters == {"requests": 7}
    board.close()


def _half(file: int, data: bytes, at: int, write: Callable[..., int] = os.pwrite) -> int:
    return write(file, data[: len(data) // 2], at)


def test_file_that_vanishes_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other-1.1-a.json").touch()
    whole = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path.name.startswith("other-"):
            raise FileNotFoundError(errno.ENOENT, "removed by another process")
        return whole(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    board = _board(tmp_path, 2)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*-8123.*.json"))) == 1
    board.close()
