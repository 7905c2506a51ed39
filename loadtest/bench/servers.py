"""Starts the measured services on free ports and stops them by pid."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.embedded import EmbeddedValkey
from deploy.ports import free_port
from deploy.process import die_with_parent
from loadtest.target import Target

_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


class StartError(Exception):
    """A service did not come up; the message ends with what it last printed."""


class Service:
    """One process tree in the background; its output goes to a file in ``directory``."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                env=dict(os.environ if environment is None else environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        """The id of its first process."""
        return self._process.pid

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready()``.

        Raises:
            StartError: it ended first, or it takes too long.
        """
        give_up = time.monotonic() + _READY_SECONDS
        while not ready():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > give_up:
                last = self.printed()[-1500:].strip()
                raise StartError(f"{self.name} {'ended' if ended else 'is not ready'}: {last}")
            time.sleep(_POLL_SECONDS)

    def printed(self) -> str:
        """Return what it printed so far."""
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """End it: politely, then not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _answers(url: str) -> bool:
    """Return whether an HTTP server answers anything there."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", "/livez")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


class Servers:
    """Everything one benchmark has started; a context that ends it all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._services: list[Service] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc: object) -> None:
        for service in reversed(self._services):
            service.stop()

    def farm(
        self, name: str, *, cpu: int = 2, gpu: int = 1, settings: Mapping[str, str] | None = None
    ) -> Target:
        """Start ``headroom-farm up`` on a Valkey of its own; ``settings`` by their names.

        Raises:
            StartError: it did not become ready.
        """
        directory = self._directory / name
        valkey = EmbeddedValkey(directory / "valkey", free_port())
        valkey.prepare()
        redis = self._start(Service(f"{name}-valkey", valkey.command, directory))
        port = free_port()
        environment = {
            **os.environ,
            "HEADROOM_REDIS_URL": valkey.url,
            "HEADROOM_LOG_LEVEL": "info",
            **{f"HEADROOM_{key.upper()}": value for key, value in (settings or {}).items()},
        }
        command = [
            *(sys.executable, "-P", "-m", "deploy.cli", "up", "--host", "127.0.0.1"),
            *("--port", str(port), "--cpu-workers", str(cpu), "--gpu-workers", str(gpu)),
            *("--data-dir", str(directory / "data")),
        ]
        farm = self._start(Service(name, command, directory, environment))
        url = f"http://127.0.0.1:{port}"
        farm.until(lambda: f"ready {url}" in farm.printed())
        return Target(name, url, (farm.pid, redis.pid), redis_url=valkey.url)

    def worker(self, farm: Target, pool: str) -> Service:
        """Start one more worker of ``farm``; its caller stops it."""
        environment = {**os.environ, "HEADROOM_REDIS_URL": farm.redis_url}
        command = [sys.executable, "-P", "-m", "deploy.cli", "worker", "--pool", pool]
        number = len(self._services)
        return self._start(
            Service(f"worker-{number}", command, self._directory / farm.name, environment)
        )

    def inline(self) -> Target:
        """Start the original's design, ``loadtest.peers.inline``.

        Raises:
            StartError: it did not become ready.
        """
        return self._peer("inline")

    def upstream(self) -> tuple[Target, Target]:
        """Start upstream's proxy; return it stateless and session-aware: one process.

        Raises:
            StartError: it did not become ready; ``headroom proxy`` wants the ``peers`` extra.
        """
        found = self._peer("upstream")
        return (
            Target("upstream", found.url, found.pids),
            Target("upstream session", found.url, found.pids, session=True),
        )

    def proxy(self, mode: str, provider: str) -> Target:
        """Start upstream's proxy in ``mode`` (cache or token) before the provider at a URL.

        Raises:
            StartError: it did not become ready; ``headroom proxy`` wants the ``peers`` extra.
        """
        options = ["--mode", mode, "--provider", provider]
        return self._peer("upstream", f"proxy-{mode}", options)

    def _peer(self, module: str, name: str = "", options: Sequence[str] = ()) -> Target:
        name = name or module
        port = free_port()
        directory = self._directory / name
        command = [sys.executable, "-P", "-m", f"loadtest.peers.{module}", "--port", str(port)]
        command += ["--data-dir", str(directory / "data"), *options]
        service = self._start(Service(name, command, directory))
        url = f"http://127.0.0.1:{port}"
        service.until(lambda: _answers(url))
        return Target(name, url, (service.pid,))

    def _start(self, service: Service) -> Service:
        self._services.append(service)
        return service
