"""Starts a farm's processes as copies of one process that has loaded their modules.

Loading the modules takes a front end or a worker two seconds of processor time, and the tests start
hundreds of them. ``multiprocessing``'s fork server loads them once for each process of pytest. What
is special about a start (the module path, the command line, a package that is missing) is tested
with a new interpreter in ``tests/integration/test_up.py``.
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
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

_PRELOAD = ["deploy.cli", "api.server.server", "workers.worker", "tests.preload"]


class Forked:
    """``headroom-farm`` with ``arguments``, with the methods of a ``subprocess.Popen``.

    Its output goes to ``log``. ``first`` is Python code that it runs first.
    """

    def __init__(
        self, arguments: list[str], environment: Mapping[str, str], log: Path, first: str = ""
    ) -> None:
        files = (Path(os.devnull), log, log)
        process = _server().Process(target=_run, args=(arguments, dict(environment), files, first))
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


def completed(
    arguments: list[str], environment: Mapping[str, str], given: str = "", seconds: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run ``headroom-farm`` with ``arguments`` to its end, as :func:`subprocess.run` does.

    ``given`` is its standard input.

    Raises:
        subprocess.TimeoutExpired: it still runs after ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="command-") as folder:
        files = tuple(Path(folder, name) for name in ("stdin", "stdout", "stderr"))
        files[0].write_text(given, "utf-8")
        process = _server().Process(target=_run, args=(arguments, dict(environment), files, ""))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, seconds)
        out, err = (path.read_bytes().decode() if path.exists() else "" for path in files[1:])
        return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


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


def _run(
    arguments: list[str], environment: dict[str, str], files: tuple[Path, Path, Path], first: str
) -> None:
    """Become the process: its environment, its three files, its randomness; then its command."""
    os.environ.clear()
    os.environ.update(environment)
    for number, (path, mode) in enumerate(zip(files, ("rb", "ab", "ab"), strict=True)):
        with path.open(mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    random.seed()
    # It pins variables of headroom's, which the new environment lacks.
    importlib.reload(importlib.import_module("shared.headroom.environment"))
    exec(first, {"__name__": "first"})
    importlib.import_module("deploy.cli").main(arguments)
