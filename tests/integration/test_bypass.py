"""The emergency switch: everything verbatim within a heartbeat, and back, without a restart."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.cli import parse
from shared import keys

from ..farm import Farm, post, until, user
from ..texts import conversation, events, manual, plain_prose, ran, rows

PROCESSES = 2


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with two front-end processes, whose switch these tests operate."""
    farm = Farm(tmp_path_factory.mktemp("switched"), api_processes=PROCESSES)
    try:
        yield farm.start()
    finally:
        farm.stop()


def turned(farm: Farm, *, on: bool) -> None:
    """Wait until every process has logged that it knows; requests cannot choose a process."""

    def knowing() -> int:
        logs = [path.read_text() for path in farm.directory.glob("api-*.log")]
        events = "".join(logs)
        return events.count('"event": "bypass_on"') - events.count('"event": "bypass_off"')

    until("every process knows", lambda: knowing() == (PROCESSES if on else 0))


def test_bypass_stops_and_resumes_compression(switched: Farm) -> None:
    name, body = user(), conversation(ran(events("switch")), ran(rows("switch"), "b"))
    before = switched.post(body, name).json
    assert before["tokens_saved"] > 0
    done = switched.command("bypass", "on", "--reason", "a drill")
    assert done.returncode == 0
    assert "a drill" in done.stdout
    turned(switched, on=True)
    for _ in range(8):  # each process, whether or not it remembers this session
        answer = switched.post(body, name).json
        assert answer["messages"] == body["messages"]
        assert answer["tokens_saved"] == 0
        assert answer["tokens_before"] > 0  # estimated by size: they are not read
        assert answer["transforms_applied"] == ["farm:verbatim:bypass_switch"]
        assert answer["degraded"] == []  # as requested
    ready = switched.get("/readyz")
    assert (ready.status, ready.json["bypass"]["reason"]) == (200, "a drill")
    assert "headroom_bypass 1.0" in switched.get("/metrics").body.decode()
    # Answers of the other process in the last milliseconds may not be recorded yet.
    counted = 'headroom_uncompressed_total{reason="bypass_switch"} 8.0'
    until("all are counted", lambda: counted in switched.get("/metrics").body.decode())
    assert "a drill" in switched.command("bypass", "status").stdout
    assert switched.command("bypass", "off").stdout.startswith("off")
    turned(switched, on=False)
    assert switched.post(body, name).json == before  # the same bytes as before it
    off = "headroom_bypass 0.0"  # each process says so in its own time
    until("the metric is off", lambda: off in switched.get("/metrics").body.decode())


def test_bypass_keeps_validation_and_retrieval(switched: Farm) -> None:
    name = user()
    hashes = switched.post(conversation(ran(events("kept"))), name).json["ccr_hashes"]
    switched.command("bypass", "on")
    try:
        turned(switched, on=True)
        assert switched.post(b"{", name).status == 400
        path = json.dumps({"hash": hashes[0]}).encode()
        got = post(switched.url, path, {"x-maas-username": name}, "/v1/retrieve")
        assert got.status == 200
        assert got.json["original_content"]
    finally:
        switched.command("bypass", "off")
        turned(switched, on=False)


def test_bypass_ends_at_the_set_time(switched: Farm) -> None:
    assert "until" in switched.command("bypass", "on", "--for", "3").stdout
    turned(switched, on=True)
    turned(switched, on=False)
    assert switched.redis.exists(keys.BYPASS) == 0


def test_any_value_of_the_key_means_on(switched: Farm) -> None:
    switched.redis.set(keys.BYPASS, "1")
    turned(switched, on=True)
    switched.redis.delete(keys.BYPASS)
    turned(switched, on=False)


@pytest.mark.parametrize(
    "line", ["bypass", "bypass perhaps", "bypass on --for 0", "bypass on --for x"]
)
def test_rejects_wrong_command(line: str) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(line.split())
    assert refused.value.code == 2


def test_bypass_applies_to_waiting_request(switched: Farm) -> None:
    worker = switched.parts[2]
    worker.signal(signal.SIGSTOP)  # it keeps the job it takes
    body, answers = conversation(manual(plain_prose("waits"))), []
    waiting = threading.Thread(target=lambda: answers.append(switched.post(body, user())))
    waiting.start()
    until("its job is there", lambda: _jobs(switched))
    switched.redis.set(keys.BYPASS, "1")
    turned(switched, on=True)
    worker.signal(signal.SIGCONT)
    waiting.join()
    assert answers[0].json["transforms_applied"] == ["farm:verbatim:bypass_switch"]
    assert answers[0].json["messages"] == body["messages"]


def test_keeps_last_state_while_redis_is_away(switched: Farm) -> None:
    switched.redis.set(keys.BYPASS, "1")
    turned(switched, on=True)
    switched.parts[0].kill()
    done = switched.command("bypass", "off")
    assert done.returncode == 2
    assert "Redis does not answer" in done.stderr
    ready = switched.get("/readyz")
    assert (ready.status, ready.json["checks"]["redis"]) == (200, "unreachable")
    body = conversation(ran(rows("away")))
    answer = switched.post(body, user()).json
    assert answer["transforms_applied"] == ["farm:verbatim:bypass_switch"]
    switched.start_redis()
    switched.command("bypass", "off")
    turned(switched, on=False)


def _jobs(farm: Farm) -> int:
    """Return how many jobs are waiting or in progress in the text pool."""
    counts: list[Any] = [farm.redis.llen(keys.queue("gpu")), farm.redis.llen(keys.taken("gpu"))]
    return sum(counts)
