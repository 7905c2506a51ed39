"""``make run``: starts a farm, runs the demonstration, and keeps the farm running until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
from types import FrameType

from shared.errors import FarmError
from shared.python_command import python_module
from shared.settings import load_settings

from .demo import demo
from .process import die_with_parent
from .up_command import LOCAL, stop_seconds

_SPARE_SECONDS = 5.0
"""Seconds beyond those that the farm's parts may take to stop, and to end it when they are over."""


def run(port: int, *, once: bool) -> int:
    """Start ``headroom-farm up``, run the demo, keep serving unless ``once``; return the status.

    With ``once`` the farm's data is in a temporary directory.
    """
    command = python_module("deploy.cli", "up", "--port", str(port))
    scratch = tempfile.TemporaryDirectory(prefix="headroom-farm-") if once else None
    if scratch:
        command += ["--data-dir", scratch.name]
    farm = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={"HEADROOM_LOG_LEVEL": "warning", **os.environ},
        process_group=0,  # Ctrl-C reaches it only through this process
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        url = _ready(farm)
        print(f"\nthe farm is up: {url}\n", flush=True)
        demo(url)
        print(f"\n{_where_to_look(url)}", flush=True)
        if not once:
            print("Press Ctrl-C to stop it.", flush=True)
            return farm.wait()
    except FarmError as error:
        print(f"headroom-farm: {error}", file=sys.stderr)
        return 1
    finally:
        try:
            _stop(farm)
        finally:
            if farm.stdout:
                farm.stdout.close()
            if scratch:
                scratch.cleanup()
    return 0


def _stop(farm: subprocess.Popen[str]) -> None:
    """Stop the farm; at once if it takes too long, or if a signal comes meanwhile."""
    farm.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            farm.wait(stop_seconds(load_settings()) + _SPARE_SECONDS)
    finally:
        if farm.poll() is None:
            farm.terminate()  # the second one kills its parts
            try:
                farm.wait(_SPARE_SECONDS)
            except subprocess.TimeoutExpired:
                farm.kill()
                farm.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _ready(farm: subprocess.Popen[str]) -> str:
    """Return the URL that the farm prints when it is ready."""
    for line in farm.stdout or ():
        if line.startswith("ready "):
            return line.split()[1]
    raise FarmError("the farm did not start; see its output above")


def _where_to_look(url: str) -> str:
    try:
        with LOCAL.open(f"{url}/dashboard", timeout=5):
            return f"dashboard: {url}/dashboard"
    except urllib.error.URLError:
        return f"the API: {url}/openapi.json"


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m deploy.run", description=__doc__)
    parser.add_argument("--port", type=int, default=8788)
    parser.add_argument("--once", action="store_true", help="stop after the demonstration")
    options = parser.parse_args()
    raise SystemExit(run(options.port, once=options.once))


if __name__ == "__main__":
    main()
