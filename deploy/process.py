"""One process of a local farm: started, watched, replaced, stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import structlog

from shared.readiness import heard, readiness
from shared.sockets import stop_listening

_log = structlog.get_logger(__name__)
_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_STABLE_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class SupervisedProcess:
    """One process of the farm. ``restart_at`` is the time of its restart after it has died.

    ``listener`` is a front end's socket. The supervisor keeps it open, so connections that arrive
    while the process is replaced wait for its successor. ``says_ready`` is the number of bytes
    that the process writes to its ``--ready-fd`` until it is ready, 0 if it has no such option.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    listener: socket.socket | None = None
    says_ready: int = 1
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0
    _pipe: int = -1
    _missing: int = 0
    _asked: bool = False

    def start(self) -> None:
        """Start the process in its own process group; on Linux it ends with its supervisor."""
        self._forget_pipe()
        command, given = list(self.command), []
        if self.says_ready:
            self._pipe, writer = readiness()
            self._missing = self.says_ready
            command += ["--ready-fd", str(writer)]
            given.append(writer)
        if self.listener is not None:
            command += ["--listen-fd", str(self.listener.fileno())]
            given.append(self.listener.fileno())
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            pass_fds=given,
            process_group=0,  # only the supervisor receives a terminal's Ctrl-C
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        if self.says_ready:
            os.close(writer)
        self.started = time.monotonic()

    def poll(self) -> bool:
        """Return whether the process is running; if not, record that it has died."""
        if self.process is None:
            return False
        if self.process.poll() is None:
            return True
        self.deaths = 0 if time.monotonic() - self.started > _STABLE_SECONDS else self.deaths
        wait = _BACKOFF_SECONDS[min(self.deaths, len(_BACKOFF_SECONDS) - 1)]
        self.deaths += 1
        self.restart_at = time.monotonic() + wait
        if self.listener is not None:
            stop_listening(self.listener)
        _log.warning("part_died", part=self.name, status=self.process.returncode, restart_in=wait)
        self.process = None
        return False

    @property
    def ready(self) -> bool:
        """Whether the process runs and has reported that it is ready."""
        if self._missing:
            self._missing -= heard(self._pipe, self._missing)
        return not self._missing and self.alive

    def successor(self) -> SupervisedProcess:
        """Return the successor of this part, not started."""
        return SupervisedProcess(
            self.name, self.command, self.environment, self.listener, self.says_ready
        )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def ask_to_end(self) -> None:
        """Send SIGTERM, only once, because a second one would end the process immediately."""
        if self.process is not None and not self._asked:
            self._asked = True
            self.process.terminate()

    def end(self, give_up: float) -> None:
        """Wait until it has ended; kill it at ``give_up`` (``time.monotonic()``)."""
        self._forget_pipe()
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("part_killed", part=self.name)
            self.kill()
            self.process.wait()

    def kill(self) -> None:
        """Kill the process and those it started."""
        if self.process is not None and self.alive:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _forget_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def die_with_parent() -> None:
    """Make the kernel end this process when its parent ends (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
