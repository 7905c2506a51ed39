"""Debian's chromium for tests: found, installed if allowed, or reported as missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

_PROGRAM = Path("/usr/bin/chromium")
_INSTALL_SECONDS = 300
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@cache
def chromium() -> tuple[str, str]:
    """Return the program's path; or an empty path and the reason."""
    if _PROGRAM.exists():
        return str(_PROGRAM), ""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return "", f"{_PROGRAM} is missing, and only root with apt-get could install it"
    for step in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            [apt, *step],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_INSTALL_SECONDS,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        )
        if done.returncode:
            return "", f"chromium is missing and 'apt-get {step[0]}' failed ({done.returncode})"
    return (str(_PROGRAM), "") if _PROGRAM.exists() else ("", f"no {_PROGRAM} after installing it")
