"""The farm under test: `headroom-farm up` and every process below it, by pid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from redis.asyncio import Redis

from deploy.ports import free_port
from deploy.process import die_with_parent
from shared import clock, keys
from shared.settings import POOLS

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_FRESH_SECONDS = 3.0


class SiteError(Exception):
    """The farm did not start, or did not end as it should."""


class Site:
    """A farm of its own in `directory`, on a free port, with an embedded Valkey.

    `settings` are `HEADROOM_*` settings by their names in lower case.
    """

    def __init__(
        self, directory: Path, *, api: int = 2, cpu: int = 2, gpu: int = 1, **settings: object
    ) -> None:
        self.directory = directory
        self.counts = {"cpu": cpu, "gpu": gpu}
        self.api = api
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "farm.log"
        self._settings = settings
        self._up: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start `up` (again, on the same port and data) and wait until it says it is ready."""
        said = self.log.stat().st_size if self.log.exists() else 0
        self._up = process = self._spawn()
        give_up = time.monotonic() + _START_SECONDS
        while b"\nready " not in b"\n" + self.log.read_bytes()[said:]:
            if process.poll() is not None or time.monotonic() > give_up:
                raise SiteError(f"the farm did not start: see {self.log}")
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """End it with SIGTERM.

        Raises:
            SiteError: it did not end by itself, or left a process behind.
        """
        family = self.family()
        if self._up is None:
            return
        self._up.terminate()
        status = await asyncio.to_thread(self._wait)
        left = [one for one in family if one.is_running() and one.status() != "zombie"]
        if status != 0 or left:
            self.kill()
            raise SiteError(f"after SIGTERM: status {status}, {len(left)} processes left")

    def kill(self) -> None:
        """End everything at once (SIGKILL), the supervisor first."""
        family = self.family()
        if self._up is not None:
            self._up.kill()
            self._up.wait()
            self._up = None
        for one in family:
            _send(one, signal.SIGKILL)

    def roll(self) -> None:
        """Ask for a rolling restart."""
        if self._up is not None:
            self._up.send_signal(signal.SIGHUP)

    # ── its processes ───────────────────────────────────────────────────────────────

    def family(self) -> list[psutil.Process]:
        """Return every process under the supervisor."""
        if self._up is None:
            return []
        try:
            return list(psutil.Process(self._up.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def workers(self, pool: str) -> list[psutil.Process]:
        """Return the living workers of a pool."""
        return [one for one in self.family() if _runs(one, "worker", "--pool", pool)]

    def master(self) -> list[psutil.Process]:
        """Return the front end's master process, or none."""
        return [one for one in self.family() if _runs(one, "api") and not _of_api(one)]

    def front_ends(self) -> list[psutil.Process]:
        """Return the front-end processes that serve."""
        return [one for one in self.family() if _runs(one, "api") and _of_api(one)]

    def valkey(self) -> list[psutil.Process]:
        """Return the Redis server, or none."""
        return [one for one in self.family() if _runs(one, "valkey-server", exact=False)]

    def pids(self) -> set[int]:
        """Return the ids of all processes that a rolling restart replaces."""
        parts = [*self.master(), *self.front_ends()]
        return {p.pid for p in parts} | {w.pid for pool in POOLS for w in self.workers(pool)}

    # ── its Redis ───────────────────────────────────────────────────────────────────

    def redis(self) -> Redis:
        """Return a client; the address and the password are new at each start."""
        lines = (self.directory / "data" / "valkey" / "valkey.conf").read_text().splitlines()
        known = dict(line.split(" ", 1) for line in lines if " " in line)
        return Redis(
            port=int(known["port"]),
            password=known["requirepass"],
            socket_timeout=2,
            socket_connect_timeout=2,
        )

    async def staffed(self, client: Redis) -> bool:
        """Return whether every worker and front-end process is there and every worker says so."""
        if len(self.front_ends()) != self.api:
            return False
        for pool, count in self.counts.items():
            pids = {one.pid for one in self.workers(pool)}
            oldest = clock.seconds(await client.time()) - _FRESH_SECONDS
            names = await client.zrangebyscore(keys.workers(pool), oldest, "+inf")
            fresh = {pid for pid in pids if any(f"-{pid}-" in str(name) for name in names)}
            if len(pids) != count or fresh != pids:
                return False
        return True

    async def counters(self) -> dict[str, int]:
        """Return what the workers counted, over both pools; whole numbers only."""
        total: dict[str, int] = {}
        async with self.redis() as client:
            for pool in POOLS:
                counted: Any = await client.hgetall(keys.metrics(pool))
                for name, value in ((k.decode(), v) for k, v in counted.items()):
                    if value.isdigit():
                        total[name] = total.get(name, 0) + int(value)
        return total

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = ["--port", self.port, "--data-dir", self.directory / "data"]
        options += ["--api-processes", self.api]
        options += ["--cpu-workers", self.counts["cpu"], "--gpu-workers", self.counts["gpu"]]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "deploy.cli", "up", *map(str, options)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )

    def _environment(self) -> Mapping[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADROOM_")}
        given = {f"HEADROOM_{k.upper()}": str(v) for k, v in self._settings.items()}
        return {**inherited, "HEADROOM_LOG_LEVEL": "warning", **given}

    def _wait(self) -> int | None:
        if self._up is None:
            return None
        try:
            return self._up.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return None


def hurt(processes: list[psutil.Process], number: int) -> None:
    """Send a signal to processes; one that is gone already is no matter."""
    for one in processes:
        _send(one, number)


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _runs(process: psutil.Process, *words: str, exact: bool = True) -> bool:
    """Return whether a living process has the words in its command line."""
    try:
        line = process.cmdline()
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.Error:
        return False
    return all(word in line if exact else any(word in part for part in line) for word in words)


def _of_api(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
    except psutil.Error:
        return False
    return parent is not None and _runs(parent, "api")
