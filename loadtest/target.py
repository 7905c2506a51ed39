"""A service under load: its processes, and the resources used by them and by its Redis."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import redis

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")
_PARTS = {"api": "front end", "cpu": "cpu workers", "gpu": "gpu workers"}


@dataclass(frozen=True)
class Target:
    """A service to drive: its name in tables, its root URL, its processes.

    ``pids`` are counted with all their descendants. ``session`` means that bodies have headroom's
    ``config.session_id``, one per user. ``redis_url`` is a Redis that only this service uses;
    empty if its traffic is not counted.
    """

    name: str
    url: str
    pids: tuple[int, ...] = ()
    session: bool = False
    redis_url: str = field(default="", repr=False)

    def tail(self, user: str) -> bytes:
        """Return the end of a body of ``user``, after the messages."""
        if not self.session:
            return b"]}"
        return b'],"config":{"mode":"ccr","session_id":' + json.dumps(user).encode() + b"}}"


class Traffic(NamedTuple):
    """A Redis's traffic: commands executed, including those in scripts, and bytes."""

    commands: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True)
class Spent:
    """A target's resource usage, in total or between two readings; processor seconds by part."""

    cpu: dict[str, float]
    traffic: Traffic

    def since(self, before: Spent) -> Spent:
        """Return the usage between ``before`` and this reading."""
        cpu = {part: used - before.cpu.get(part, 0.0) for part, used in self.cpu.items()}
        pairs = zip(self.traffic, before.traffic, strict=True)
        return Spent(cpu, Traffic(*(now - then for now, then in pairs)))


def spent(target: Target) -> Spent:
    """Read the usage of ``target`` so far."""
    cpu: dict[str, float] = {}
    for process in family(target.pids):
        cpu[process.part] = cpu.get(process.part, 0.0) + process.cpu
    return Spent(cpu, _traffic(target.redis_url) if target.redis_url else Traffic())


class Process(NamedTuple):
    """A running process: processor seconds (including reaped children), resident bytes."""

    pid: int
    part: str
    cpu: float
    resident: int


def family(pids: Iterable[int]) -> list[Process]:
    """Return processes and all their descendants that are still running."""
    found: dict[int, Process] = {}
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(") ")[2].split()
            command = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended
        pid = int(path.name)
        children.setdefault(int(fields[1]), []).append(pid)
        cpu = sum(map(int, fields[11:15])) / _TICK  # utime, stime, and of reaped children
        found[pid] = Process(pid, _part(command), cpu, int(fields[21]) * _PAGE)
    kin: list[Process] = []
    waiting, seen = list(pids), set[int]()
    while waiting:
        pid = waiting.pop()
        if pid not in seen and pid in found:
            seen.add(pid)
            kin.append(found[pid])
            waiting += children.get(pid, [])
    return kin


def resident_of(pid: int) -> int:
    """Return the resident bytes of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _part(command: list[str]) -> str:
    """Return the farm's part that a command line runs, or ``other``."""
    text = " ".join(command)
    if "valkey-server" in text or "redis-server" in text or "valkey.conf" in text:
        return "redis"
    if "headroom-farm-api" in text:
        return _PARTS["api"]
    if "deploy.cli" in text or "headroom-farm" in text:
        words = set(command)
        for word in ("api", "cpu", "gpu"):
            if word in words:
                return _PARTS[word]
    return "other"


def _traffic(url: str) -> Traffic:
    client = redis.Redis.from_url(url)
    try:
        stats = client.info("stats")
        calls = client.info("commandstats")
    finally:
        client.close()
    ours = ("cmdstat_info", "cmdstat_hello", "cmdstat_client|setinfo", "cmdstat_auth")
    commands = sum(int(c["calls"]) for name, c in calls.items() if name not in ours)
    return Traffic(
        commands, int(stats["total_net_input_bytes"]), int(stats["total_net_output_bytes"])
    )
