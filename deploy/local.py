"""``headroom-farm up``: the whole farm on one machine, in the foreground.

Each part is a process running the very command the compose file and the manifests run.
A part that dies is started again with back-off; the others live through it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from types import FrameType

import structlog

from shared import logs
from shared.errors import SupervisorError
from shared.settings import Settings, load_settings

from .embedded import EmbeddedValkey

_log = structlog.get_logger(__name__)
_STOP_SECONDS = 8.0
_READY_SECONDS = 60.0
_TICK_SECONDS = 0.1
_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_STABLE_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1

LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine, whatever proxy the environment names for others."""


@dataclass(slots=True)
class Part:
    """One process of the farm. ``restart_at`` is when a dead one is started again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0

    def start(self) -> None:
        """Start the process; it dies with its supervisor."""
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        self.started = time.monotonic()

    def poll(self) -> bool:
        """Return whether the process lives; note its death."""
        if self.process is None:
            return False
        if self.process.poll() is None:
            return True
        self.deaths = 0 if time.monotonic() - self.started > _STABLE_SECONDS else self.deaths
        wait = _BACKOFF_SECONDS[min(self.deaths, len(_BACKOFF_SECONDS) - 1)]
        self.deaths += 1
        self.restart_at = time.monotonic() + wait
        _log.warning("part_died", part=self.name, status=self.process.returncode, restart_in=wait)
        self.process = None
        return False


@dataclass(slots=True)
class Farm:
    """All parts of a farm on this machine."""

    settings: Settings
    embedded_redis: bool
    parts: list[Part] = field(default_factory=list)
    stopping: bool = False

    def run(self) -> None:
        """Run the farm until SIGINT or SIGTERM.

        Raises:
            SupervisorError: it did not become ready.
        """
        logs.configure(self.settings)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            self._plan()
            for part in self.parts:
                part.start()
            self._supervise()
        finally:
            self._stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _plan(self) -> None:
        settings = self.settings
        environment = {**os.environ}
        port = settings.port or _free_port(settings.host)
        _refuse_taken(settings.host, port)
        self.settings = settings = settings.model_copy(update={"port": port})
        if self.embedded_redis:
            valkey = EmbeddedValkey(settings.data_dir / "valkey", _free_port("127.0.0.1"))
            valkey.prepare()
            settings = self.settings = settings.model_copy(update={"redis_url": valkey.url})
            self.parts.append(Part("valkey", valkey.command, environment))
        # The parts read the same environment; what options changed is put over it.
        known = load_settings()
        for name, value in settings:
            if value != getattr(known, name):
                environment[f"HEADROOM_{name.upper()}"] = str(value)
        self.parts.append(Part("api", _command("api"), environment))
        for pool, count in (("cpu", settings.cpu_workers), ("gpu", settings.gpu_workers)):
            for number in range(count):
                command = _command("worker", "--pool", pool)
                self.parts.append(Part(f"{pool}-worker-{number}", command, environment))

    def _supervise(self) -> None:
        url = f"http://{self.settings.host}:{self.settings.port}"
        announced = False
        give_up = time.monotonic() + _READY_SECONDS
        while not self.stopping:
            for part in self.parts:
                if not part.poll() and time.monotonic() >= part.restart_at:
                    part.start()
            if not announced:
                announced = _is_ready(url, self.settings)
                if announced:
                    print(f"ready {url}", flush=True)
                elif time.monotonic() > give_up:
                    raise SupervisorError(f"not ready after {_READY_SECONDS:.0f} s")
            time.sleep(_TICK_SECONDS)

    def _stop(self) -> None:
        """Stop front ends and workers first, then Redis; kill what does not go in time."""
        redis = [p for p in self.parts if p.name == "valkey"]
        rest = [p for p in self.parts if p.name != "valkey"]
        give_up = time.monotonic() + _STOP_SECONDS
        for group in (rest, redis):
            for part in group:
                if part.process is not None:
                    part.process.terminate()
            for part in group:
                _wait(part, give_up)


def _wait(part: Part, give_up: float) -> None:
    if part.process is None:
        return
    try:
        part.process.wait(max(0.1, give_up - time.monotonic()))
    except subprocess.TimeoutExpired:
        _log.warning("part_killed", part=part.name)
        part.process.kill()
        part.process.wait()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", *arguments]


def die_with_parent() -> None:
    """Have this process ended when its parent ends, however that happens (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _refuse_taken(host: str, port: int) -> None:
    """Fail where somebody listens already: his answers would be taken for ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SupervisorError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def _is_ready(url: str, settings: Settings) -> bool:
    """Say whether the front end is ready and sees every worker that was started."""
    try:
        with LOCAL.open(f"{url}/readyz", timeout=1) as answer:
            checks = json.load(answer)["checks"]
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return bool(
        checks["cpu_workers"] >= settings.cpu_workers
        and checks["gpu_workers"] >= settings.gpu_workers
    )
