"""Starts a farm's processes as copies of one process that has loaded their modules.

Loading the modules takes a front end or a worker two seconds of processor time, and the tests start
hundreds of them. ``multiprocessing``'s fork server loads them once for each process of pytest. What
is special about a start (the module path, the command line, a package that is missing) is tested
with a new interpreter: ``tests/integration/test_up.py`` and every start with ``first``.
"""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

_PRELOAD = ["deploy.cli", "api.server.server", "workers.worker", "tests.preload"]


class Forked:
    """``headroom-farm`` with ``arguments``, with the methods of a ``subprocess.Popen``."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        process = _server().Process(target=_run, args=(arguments, dict(environment), log))
        process.start()
        self._process: BaseProcess = process
        assert process.pid is not None
        self.pid: int = process.pid

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait until it ends and return its exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it (SIGKILL), if it runs."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> ForkServerContext:
    """Return a fork server, started with an empty home: packages read it when they are loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    home = os.environ.get("HOME")
    os.environ["HOME"] = empty = tempfile.mkdtemp(prefix="home-")
    atexit.register(shutil.rmtree, empty)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if home is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = home
    return context


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """Become the process: its environment, its output, its randomness; then its command."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    random.seed()
    # It pins variables of headroom's, which the new environment lacks.
    importlib.reload(importlib.import_module("shared.upstream.environment"))
    importlib.import_module("deploy.cli").main(arguments)
