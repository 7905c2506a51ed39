"""``headroom-farm up``: the whole farm on one machine, in the foreground.

Each part is a process with the same command as in the compose file and the manifests. A part
that dies is restarted with back-off; the others continue. The supervisor creates the listening
socket and passes it to the front end, so no connection is refused while the front end is replaced.
If it has died, connections are refused until it listens again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from shared import logs
from shared.errors import SupervisorError
from shared.python_command import python_module
from shared.settings import Settings, load_settings, overridden
from shared.sockets import authority

from .embedded import EmbeddedValkey
from .ports import free_port
from .process import SupervisedProcess
from .rolling_restart import READY_SECONDS, replaced_one_by_one

_STOP_SECONDS = 8.0
"""Time, in seconds, to stop a part in addition to its drain and its last request's deadline."""
_TICK_SECONDS = 0.1
_OVER = object()

LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine, ignoring any proxy configured in the environment."""


@dataclass(slots=True)
class Farm:
    """All parts of a farm on this machine."""

    settings: Settings
    embedded_redis: bool
    parts: list[SupervisedProcess] = field(default_factory=list)
    stopping: bool = False
    roll_asked: bool = False
    _rolling: Iterator[None] | None = None
    _passing: list[SupervisedProcess] = field(default_factory=list)  # starting or stopping

    def run(self) -> None:
        """Run the farm until SIGINT or SIGTERM; SIGHUP replaces its parts one by one.

        Raises:
            SupervisorError: It did not become ready.
        """
        logs.configure(self.settings)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        try:
            self._plan()
            for part in self.parts:
                part.start()
            self._supervise()
        finally:
            self._stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop; on a second signal, stop at once."""
        if self.stopping:
            for part in [*self._passing, *self.parts]:
                part.kill()
            os._exit(128 + number)
        self.stopping = True

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self.roll_asked = True

    def _plan(self) -> None:
        settings = self.settings
        environment = {**os.environ}
        listener = _bound(settings.host, settings.port)
        port = listener.getsockname()[1]
        self.settings = settings = settings.model_copy(update={"port": port})
        if self.embedded_redis:
            valkey = EmbeddedValkey(settings.data_dir / "valkey", free_port())
            valkey.prepare()
            settings = self.settings = settings.model_copy(update={"redis_url": valkey.url})
            self.parts.append(
                SupervisedProcess("valkey", valkey.command, environment, says_ready=0)
            )
        # The parts read the same environment, overridden by the options.
        known = load_settings()
        for name, value in settings:
            if value != getattr(known, name):
                environment = overridden(environment, name, value)
        self.parts.append(
            SupervisedProcess(
                "api",
                python_module("deploy.cli", "api"),
                environment,
                listener,
                settings.api_processes,
            )
        )
        for pool, count in (("cpu", settings.cpu_workers), ("gpu", settings.gpu_workers)):
            for number in range(count):
                command = python_module("deploy.cli", "worker", "--pool", pool)
                self.parts.append(
                    SupervisedProcess(f"{pool}-worker-{number}", command, environment)
                )

    def _supervise(self) -> None:
        url = f"http://{authority(self.settings.host, self.settings.port)}"
        announced = False
        give_up = time.monotonic() + READY_SECONDS
        while not self.stopping:
            for part in self.parts:
                if not part.poll() and time.monotonic() >= part.restart_at:
                    part.start()
            if not announced:
                announced = _is_ready(url, self.settings)
                if announced:
                    print(f"ready {url}", flush=True)
                elif time.monotonic() > give_up:
                    raise SupervisorError(f"not ready after {READY_SECONDS:.0f} s")
            elif self.roll_asked and self._rolling is None:
                self.roll_asked = False
                self._rolling = replaced_one_by_one(self.parts, self._passing, self._grace)
            if self._rolling is not None and next(self._rolling, _OVER) is _OVER:
                self._rolling = None
            time.sleep(_TICK_SECONDS)

    @property
    def _grace(self) -> float:
        return stop_seconds(self.settings)

    def _stop(self) -> None:
        """Stop front ends and workers, then Redis; kill parts that do not stop in time."""
        redis = [p for p in self.parts if p.name == "valkey"]
        rest = [*self._passing, *(p for p in self.parts if p.name != "valkey")]
        give_up = time.monotonic() + self._grace
        for group in (rest, redis):
            for part in group:
                part.ask_to_end()
            for part in group:
                part.end(give_up)


def stop_seconds(settings: Settings) -> float:
    """Return the seconds that a part may take to stop; after them, all have ended."""
    return settings.drain_seconds + settings.request_seconds + _STOP_SECONDS


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; the front end calls ``listen``.

    For ``port`` 0 a free port is chosen here, because one chosen by the system is lost when the
    socket stops listening (Linux's ``SOCK_BINDPORT_LOCK``).

    Raises:
        SupervisorError: The address is not available, for example because it is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port or free_port(), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SupervisorError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def _is_ready(url: str, settings: Settings) -> bool:
    """Return whether the front end is ready and sees every started worker."""
    try:
        with LOCAL.open(f"{url}/readyz", timeout=1) as answer:
            checks = json.load(answer)["checks"]
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return bool(
        checks["cpu_workers"] >= settings.cpu_workers
        and checks["gpu_workers"] >= settings.gpu_workers
    )
