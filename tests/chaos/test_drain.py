"""A front end that gets SIGTERM finishes its requests and drops no connection."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.server.drain import drain_limit, hang_limit
from shared import keys
from shared.settings import Settings

from ..farm import Answer, Farm, Process, until, user
from ..texts import conversation, ran, rows

SECOND_WAITS = """
from pathlib import Path
from api.server.drain import FrontEnd
begin = FrontEnd.init_process
def init_process(self):
    if self.age == 2:
        Path({gate!r}).read_text()
    begin(self)
FrontEnd.init_process = init_process
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Redis and a cpu worker; each test starts its front ends."""
    farm = Farm(tmp_path_factory.mktemp("farm"), drain_seconds=1, api_processes=2)
    try:
        farm.start_redis()
        farm.start_worker("cpu")
        yield farm
    finally:
        farm.stop()


@pytest.fixture
def api(running: Farm) -> Iterator[Process]:
    """A front end, stopped after its test."""
    process = running.start_api()
    running.until_ready(cpu=1, gpu=0)
    yield process
    process.stop()


@contextmanager
def _in_progress(farm: Farm, **headers: str) -> Iterator[Future[Answer]]:
    """Make a request wait for a paused worker, which continues afterwards."""
    worker = farm.parts[1]
    worker.signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(farm.post, conversation(ran(rows(user()))), user(), **headers)
            until(
                "its job is there",
                lambda: farm.redis.llen(keys.queue("cpu")) + farm.redis.llen(keys.taken("cpu")),
            )
            yield asked
    finally:
        worker.signal(signal.SIGCONT)


def _kept(farm: Farm) -> http.client.HTTPConnection:
    """Return a keep-alive connection that was used once."""
    connection = http.client.HTTPConnection("127.0.0.1", farm.port, timeout=90)
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    assert answer.getheader("connection", "").lower() != "close"
    return connection


def test_sigterm_drains_requests(running: Farm, api: Process) -> None:
    with closing(_kept(running)) as idle, closing(_kept(running)) as used:
        with _in_progress(running) as asked:
            api.signal(signal.SIGTERM)

            def draining() -> bool:
                answer = running.answer("/readyz")
                return answer is not None and answer.json.get("reason") == "draining"

            until("/readyz says so, on a new connection", draining)
            used.request("GET", "/health")
            answer = used.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
            assert not asked.done()
            running.parts[1].signal(signal.SIGCONT)
            found = asked.result()
        assert found.status == 200
        assert found.json["degraded"] == []
        assert found.json["tokens_saved"] > 0
        assert api.wait() == 0
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""  # closed properly


def test_process_that_is_still_starting_drains_too(running: Farm, tmp_path: Path) -> None:
    """Between its fork and its own handlers a process has its master's, which tell it nothing."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    api = running.start_api(SECOND_WAITS.format(gate=str(gate)))
    try:
        until("the second process is forked", lambda: len(api.children()) == 2)
        api.signal(signal.SIGTERM)
        until("the first one drains", lambda: "draining" in str(running.answer("/readyz")))
        gate.write_text("go on")
        assert api.wait() == 0
    finally:
        api.stop()


def test_draining_answers_waiting_requests_by_deadline(running: Farm, api: Process) -> None:
    with _in_progress(running, x_headroom_deadline_ms="2500") as asked:
        api.signal(signal.SIGTERM)
        found = asked.result()
    assert found.status == 200
    assert found.json["degraded"] == ["deadline"]
    assert api.wait() == 0


def test_second_sigterm_ends_at_once(running: Farm, api: Process) -> None:
    with _in_progress(running) as asked:
        api.signal(signal.SIGTERM)
        until("it drains", lambda: "draining" in str(running.answer("/readyz")))
        api.signal(signal.SIGTERM)
        assert api.wait() == 128 + signal.SIGTERM
        with pytest.raises((OSError, http.client.HTTPException)):
            asked.result()


def test_sighup_replaces_processes_without_failures(running: Farm, api: Process) -> None:
    old = set(api.children())
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        """Send requests on one connection; open a new one only if the server announced closing."""
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=90)
        with closing(connection):
            while not stop.is_set():
                connection.request("GET", "/livez")
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(ask) for _ in range(3)]
        api.signal(signal.SIGHUP)
        try:
            until("others are in their place", lambda: old.isdisjoint(api.children()))
            more = len(statuses) + 50
            until("they serve", lambda: len(statuses) > more)
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert set(statuses) == {200}
    assert len(api.children()) == 2


@pytest.mark.parametrize("deadline_ms", [10, 8000, 61_000, 600_000])
@pytest.mark.parametrize("drain_seconds", [0, 0.4, 30])
def test_gunicorn_timeouts_exceed_any_deadline(deadline_ms: int, drain_seconds: float) -> None:
    given: Any = {"deadline_ms": deadline_ms, "drain_seconds": drain_seconds}
    settings = Settings(**given)
    assert hang_limit(settings) >= max(60, deadline_ms / 1000 + 10)
    # One tick of gunicorn, the drain, the last deadline, and stopping the parts (the ledger: 2 s).
    assert drain_limit(settings) >= drain_seconds + deadline_ms / 1000 + 1 + 2
