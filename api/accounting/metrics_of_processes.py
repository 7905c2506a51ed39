"""Metrics of the front-end processes of one port, shared through files.

A scrape reaches one of several processes, so each must report for all: gauges are combined over
the live processes, counters are summed over live and ended ones. The figures are kept in files
rather than in Redis, because most of them matter while Redis is unavailable. A process holds a
lock on its file; a process that finds a file unlocked adds its counters to those of the ended
processes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog

_log = structlog.get_logger(__name__)
_KEPT_SECONDS = 86_400
"""Seconds for which files of other hosts and ports are kept after their last process ended."""


class Figures(msgspec.Struct):
    """One process's figures, or several processes' combined.

    ``started`` is ``time.monotonic()``, which all processes of a machine share; ``breakers`` maps
    (place, node, cause) to a state from 0 (closed) to 2 (open); ``counters`` only grow.
    """

    started: float
    redis_up: bool
    bypass: bool
    backlog: int
    prices_age: float | None
    prices_ignored: int
    breakers: list[tuple[tuple[str, str, str], int]]
    counters: dict[str, int]
    policy_fault: bool = False
    open_streams: int = 0
    tasks: int = 0


_decode = msgspec.json.Decoder(Figures).decode
_decode_counters = msgspec.json.Decoder(dict[str, int]).decode
_encode = msgspec.json.Encoder().encode


class ProcessBoard:
    """This process's file and those of its siblings; without a directory, no files are used."""

    def __init__(self, directory: Path, port: int, own: Callable[[], Figures]) -> None:
        self._directory = directory
        self._group = f"{socket.gethostname()}-{port}"
        self._path = directory / f"{self._group}.{os.getpid()}-{secrets.token_hex(4)}.json"
        self._ended = directory / f"{self._group}.ended"
        self._own = own
        self._file = -1
        self._others: dict[str, Figures] = {}
        self._past: Counter[str] = Counter()

    def open(self) -> None:
        """Create this process's file; if that fails, log it and report only this process."""
        new = self._path.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
            self._file = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(self._file, self._own())
            new.rename(self._path)  # locked before a sibling can see it
        except OSError as error:
            _log.warning("process_figures_off", error=type(error).__name__)
            self.close()

    def close(self) -> None:
        """Release the file; a sibling or the next process to start adds its counters."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                _write(self._file, self._own())
            os.close(self._file)
            self._file = -1

    def publish(self) -> None:
        """Write this process's figures for its siblings."""
        if self._file >= 0:
            with contextlib.suppress(OSError):  # disk full: siblings keep using the last figures
                _write(self._file, self._own())

    def read(self) -> Figures:
        """Return the combined figures of all processes; this process's are current."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self._read_siblings()
        self.publish()
        own = self._own()
        return _combined([own, *self._others.values()], self._past)

    def _read_siblings(self) -> None:
        """Read live siblings and add ended ones, unless another process is doing so now."""
        with _locked(self._ended) as ended:
            if ended is None:
                return
            past = self._of_ended(ended)
            others: dict[str, Figures] = {}
            for path in sorted(self._directory.glob(f"{self._group}.*.json")):
                if path == self._path:
                    continue
                figures, alive = _look(path)
                figures = figures or self._others.get(path.name)
                if alive and figures is not None:
                    others[path.name] = figures
                elif not alive:
                    past.update(figures.counters if figures else {})
                    _write(ended, dict(past))
                    path.unlink(missing_ok=True)
            self._others, self._past = others, past

    def _of_ended(self, file: int) -> Counter[str]:
        """Return the counters of ended processes; those last seen where they cannot be read."""
        try:
            return Counter(_decode_counters(_line(file) or b"{}"))
        except msgspec.DecodeError:  # the disk was full when it was written
            return Counter(self._past)

    def _sweep(self) -> None:
        """Remove old files of other hosts and ports."""
        live = {path.name.rpartition(".json")[0] for path in self._directory.glob("*.json")}
        for path in self._directory.iterdir():
            if path.name.startswith(f"{self._group}."):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process removed it just now
                old = time.time() - path.stat().st_mtime > _KEPT_SECONDS
                group = path.name.removesuffix(".ended")
                if old and not (path.suffix == ".ended" and any(n.startswith(group) for n in live)):
                    path.unlink()


def _combined(every: list[Figures], past: Counter[str]) -> Figures:
    breakers: dict[tuple[str, str, str], int] = {}
    counters = Counter(past)
    for one in every:
        counters.update(one.counters)
        for key, state in one.breakers:
            breakers[key] = max(state, breakers.get(key, 0))
    ages = [one.prices_age for one in every if one.prices_age is not None]
    return Figures(
        started=min(one.started for one in every),
        redis_up=all(one.redis_up for one in every),
        bypass=any(one.bypass for one in every),
        backlog=sum(one.backlog for one in every),
        prices_age=max(ages, default=None),
        prices_ignored=max(one.prices_ignored for one in every),
        breakers=sorted(breakers.items()),
        counters=dict(counters),
        policy_fault=any(one.policy_fault for one in every),
        open_streams=sum(one.open_streams for one in every),
        tasks=sum(one.tasks for one in every),
    )


def _write(file: int, value: Figures | dict[str, int]) -> None:
    """Replace a file's content by one line; readers read only the first line.

    Raises:
        OSError: It could not be written whole, as on a full disk.
    """
    data = _encode(value) + b"\n"
    if os.pwrite(file, data, 0) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(file, len(data))


def _line(file: int) -> bytes:
    return os.pread(file, 1 << 20, 0).split(b"\n")[0]


def _look(path: Path) -> tuple[Figures | None, bool]:
    """Return a process's figures (None if unreadable), and whether it is alive."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None, True
    try:
        alive = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alive = True
        return _decode(_line(file)), alive
    except msgspec.DecodeError:
        return None, alive
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """Hold a file's lock; yields None, without waiting, if another process holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield file
    finally:
        os.close(file)
