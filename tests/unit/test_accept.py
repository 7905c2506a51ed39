"""A busy process accepts all waiting connections; an idle one leaves some to other processes."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import Mock

import pytest
import uvloop

from api.server.accept import Listener
from deploy.up_command import _bound
from shared.sockets import stop_listening

_MASTER = """
from sys import argv
from api.server.drain import Master
from api.server.server import Server
from shared.settings import Settings
from shared.sockets import listens
master = Master(Server(Settings(port=0), *map(int, argv[1:])))
master.start()
print(listens(master.LISTENERS[0].fileno()))
"""
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Counted(asyncio.Protocol):
    """Counts the connections made."""

    made = 0
    one = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Counted.made += 1
        Counted.one.set()


def running(loop: Callable[[], Any], test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    Counted.made, Counted.one = 0, asyncio.Event()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test())


def listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(512)
    return sock


def clients(sock: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(sock.getsockname()) for _ in range(count)]


def accepting(sock: socket.socket, accept: Callable[[], Any]) -> Any:
    """Return ``sock`` with its ``accept`` replaced."""
    return Mock(wraps=sock, accept=accept, fileno=sock.fileno)


def busy(seconds: float) -> None:
    """Block the thread."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def rounds(count: int, each: float = 0.0) -> None:
    """Let the loop iterate ``count`` times, each time blocking it for ``each`` seconds."""
    for _ in range(count):
        await asyncio.sleep(0)
        busy(each)


@pytest.mark.parametrize("loop", LOOPS)
def test_accepts_whole_backlog_while_loop_is_busy(loop: Callable[[], Any]) -> None:
    async def test() -> None:
        sock = listening()
        waiting = clients(sock, 100)
        listener = Listener(asyncio.get_running_loop(), sock, Counted, 512)
        await rounds(12, each=0.03)
        assert Counted.made == 100
        listener.close()
        for one in waiting:
            one.close()

    running(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_accepts_one_connection_at_a_time_when_idle(loop: Callable[[], Any]) -> None:
    async def test() -> None:
        sock = listening()
        taken: list[int] = []

        def accept() -> Any:
            taken.append(len(taken))
            return sock.accept()

        waiting = clients(sock, 3)
        listener = Listener(asyncio.get_running_loop(), accepting(sock, accept), Counted, 512)
        listener._take()
        assert len(taken) == 1
        listener.close()
        await listener.wait_closed()
        for one in waiting:
            one.close()

    running(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_waits_when_file_descriptors_run_out(loop: Callable[[], Any]) -> None:
    async def test() -> None:
        sock = listening()
        tries: list[float] = []

        def accept() -> Any:
            tries.append(time.monotonic())
            if len(tries) < 3:
                raise OSError(errno.EMFILE, "too many open files")
            return sock.accept()

        (client,) = clients(sock, 1)
        listener = Listener(asyncio.get_running_loop(), accepting(sock, accept), Counted, 512)
        async with asyncio.timeout(20):
            await Counted.one.wait()
        assert tries[2] - tries[0] > 0.1  # it did not spin
        listener.close()
        client.close()

    running(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_close_refuses_new_connections_and_keeps_accepted(loop: Callable[[], Any]) -> None:
    async def test() -> None:
        sock = listening()
        address = sock.getsockname()
        (client,) = clients(sock, 1)
        listener = Listener(asyncio.get_running_loop(), sock, Counted, 512)
        listener._take()
        listener.close()
        listener.close()
        await listener.wait_closed()
        assert Counted.made == 1
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(address)
        client.close()

    running(loop, test)


def started(*descriptors: int) -> str:
    """Start a front end's master without processes; return whether it listens."""
    command = [sys.executable, "-c", _MASTER, *map(str, descriptors)]
    return subprocess.check_output(command, pass_fds=descriptors, text=True).strip()


def test_refuses_connections_until_a_process_serves() -> None:
    """Before a process serves, connections are refused at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert started(sock.fileno()) == "False"
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(sock.getsockname())
    assert started() == "False"


def test_accepts_connections_on_inherited_socket() -> None:
    with listening() as sock:
        assert started(sock.fileno()) == "True"
        clients(sock, 1)[0].close()


@pytest.mark.parametrize("loop", LOOPS)
def test_listens_again_on_stopped_socket(loop: Callable[[], Any]) -> None:
    async def test() -> None:
        sock = listening()
        stop_listening(sock)
        stop_listening(sock)
        listener = Listener(asyncio.get_running_loop(), sock, Counted, 512)
        (client,) = clients(sock, 1)
        async with asyncio.timeout(20):
            await Counted.one.wait()
        listener.close()
        client.close()

    running(loop, test)


def test_stopped_socket_keeps_its_port() -> None:
    with _bound("127.0.0.1", 0) as sock:
        before = sock.getsockname()
        sock.listen()
        stop_listening(sock)
        sock.listen()
        assert sock.getsockname() == before
        clients(sock, 1)[0].close()
