"""Bodies that arrive slowly or not at all, and providers that read them slowly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ..farm import Farm, until
from ..hostile.wire import connect, head, hear
from .scripted import ScriptedProvider, whole

READ_SECONDS = 1.5
IDLE_SECONDS = 6.0
PIECE = b" " * 65536


class Reader:
    """A provider that reads one request when it may, and answers when all of it has come."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = threading.Event()
        self.reads = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        self.reads.wait()
        with connection:
            while b"the end" not in self.got and (piece := connection.recv(1 << 20)):
                self.got += piece
            if b"the end" in self.got:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            self.ended.set()

    def close(self) -> None:
        """Stop reading; the request has to be over."""
        self.reads.set()
        self._listener.close()
        self._thread.join()


@pytest.fixture
def reader() -> Iterator[Reader]:
    with closing(Reader()) as found:
        yield found


def started(farm: Farm) -> Farm:
    farm.start_redis()
    farm.start_api()
    return farm


@pytest.fixture(scope="module")
def impatient(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    """A proxy that soon gives up a body that does not arrive."""
    settings: dict[str, Any] = {"read_timeout_seconds": READ_SECONDS}
    with Farm(
        tmp_path_factory.mktemp("uploads"), anthropic_target_api_url=provider.url, **settings
    ) as farm:
        yield started(farm)


def upload(path: str, *lines: str) -> bytes:
    return head("POST", path, "x-api-key: sk", *lines)


@pytest.mark.parametrize("framing", ["content-length: 1000", "transfer-encoding: chunked"])
def test_cut_upload_is_cut_for_the_provider(own_farm: Any, reader: Reader, framing: str) -> None:
    farm = started(own_farm(anthropic_target_api_url=reader.url))
    reader.reads.set()
    with closing(connect(farm)) as connection:
        part = b"a part" if "length" in framing else b"6\r\na part\r\n"
        connection.sendall(upload("/v1/files", framing) + part)
        until("the provider has the part", lambda: b"a part" in reader.got)
    assert reader.ended.wait(30)
    assert b"\r\n0\r\n" not in reader.got
    assert "upstream_failed" not in farm.logs()


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages"])
def test_slow_body_arrives_while_it_flows(
    impatient: Farm, provider: ScriptedProvider, path: str
) -> None:
    provider.will_say(whole({"ok": 1}))
    end = time.monotonic() + 3 * READ_SECONDS
    with closing(connect(impatient)) as connection:
        start = b'{"messages":[{"role":"user","content":"Hello"}]}'
        connection.sendall(upload(path, "transfer-encoding: chunked") + b"30\r\n" + start + b"\r\n")
        sent = len(start)
        while time.monotonic() < end:
            connection.sendall(b"10000\r\n" + PIECE + b"\r\n")
            sent += len(PIECE)
            time.sleep(0.05)
        connection.sendall(b"0\r\n\r\n")
        assert hear(connection).status == 200
    assert len(provider.asked[0].body) == sent


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages"])
def test_body_that_trickles_is_refused(impatient: Farm, path: str) -> None:
    begun = time.monotonic()
    with closing(connect(impatient)) as connection:
        connection.sendall(upload(path, "content-length: 1000000"))
        connection.settimeout(0.05)
        status = 0
        while not status and time.monotonic() < begun + 60:
            connection.sendall(b"x")
            try:
                status = hear(connection).status
            except TimeoutError:
                continue
    assert status == 408


def test_body_waits_for_a_provider_that_reads_slowly(own_farm: Any, reader: Reader) -> None:
    """It waits longer than a silent client may, and as long as a silent provider may."""
    settings = {"read_timeout_seconds": READ_SECONDS, "upstream_idle_seconds": IDLE_SECONDS}
    farm = started(own_farm(anthropic_target_api_url=reader.url, **settings))
    with closing(connect(farm)) as connection:
        connection.sendall(upload("/v1/files", "transfer-encoding: chunked"))
        sending = threading.Thread(target=_send, args=(connection, 30 << 20))
        sending.start()
        time.sleep(2 * READ_SECONDS)
        reader.reads.set()
        assert hear(connection).status == 200
        sending.join()


def test_body_that_the_provider_does_not_read_ends(own_farm: Any, reader: Reader) -> None:
    settings = {"read_timeout_seconds": READ_SECONDS, "upstream_idle_seconds": 2 * READ_SECONDS}
    farm = started(own_farm(anthropic_target_api_url=reader.url, **settings))
    with closing(connect(farm, 60)) as connection:
        connection.sendall(upload("/v1/files", "transfer-encoding: chunked"))
        sending = threading.Thread(target=_send, args=(connection, 30 << 20))
        sending.start()
        assert hear(connection).status in (0, 408)
        sending.join()


def _send(connection: socket.socket, size: int) -> None:
    try:
        for _ in range(size // len(PIECE)):
            connection.sendall(b"10000\r\n" + PIECE + b"\r\n")
        connection.sendall(b"7\r\nthe end\r\n0\r\n\r\n")
    except OSError:  # the farm has closed the connection
        pass
