"""No connection leaves the machine, and no file is written outside the data directory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..farm import Farm, user
from ..texts import conversation, events, manual, page, prose, ran, rows

_SOCKET = re.compile(r"socket:\[(\d+)\]")


def _descendants(pids: set[int]) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = set(pids)
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = _SOCKET.fullmatch(os.readlink(entry))
        except OSError:
            continue
        if match:
            found.add(match[1])
    return found


def _peers(pid: int) -> Iterator[str]:
    """Yield the remote addresses of the process's connected TCP and UDP sockets."""
    own = _sockets(pid)
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[9] in own and not set(columns[2].split(":")[0]) <= {"0"}:
                yield columns[2].split(":")[0]


def _local(address: str) -> bool:
    """Return whether a /proc/net address is 127.0.0.0/8 or ::1 (or it mapped)."""
    return address.endswith("7F") or address == "00000000000000000000000001000000"


def test_processes_connect_and_write_only_locally(
    own_farm: Callable[..., Farm], tmp_path: Path
) -> None:
    farm = own_farm(deadline_ms=30_000)
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    os.environ["TMPDIR"], before = str(elsewhere), os.environ.get("TMPDIR")
    try:
        farm.start()
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
    seen = set()
    for model in ("claude-x", "gpt-4o", "gemini-2.5-pro", "llama-3", "mistral-large", "qwen"):
        name = user()
        parts = [ran(t, str(i)) for i, t in enumerate((rows(name), events(name), page()))]
        parts.append(manual(prose(name), "prose"))
        answer = farm.post({**conversation(*parts), "model": model}, name)
        assert answer.json["tokens_saved"] > 0
        for pid in _descendants({p.pid for p in farm.parts}):
            seen |= set(_peers(pid))
    assert seen  # at least Redis, which shows that the check works
    assert not [address for address in seen if not _local(address)]
    home = farm.directory / "home"
    assert [p for p in home.rglob("*") if p.is_file()] == []
    written = [p for p in elsewhere.rglob("*") if p.is_file()]
    assert not written
