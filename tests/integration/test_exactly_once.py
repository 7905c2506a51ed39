"""The ledger equals the sum of the answers, whichever processes are killed."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..farm import Farm, Process, until, user
from ..texts import conversation, events, ran, rows

_CLIENTS = 4
_EACH = 4
_KILLS = 4 * _EACH


class _Client(threading.Thread):
    """Posts until stopped; a request without an answer is repeated with the same id."""

    def __init__(self, farm: Farm, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._farm = farm
        self._stop_asked = stop
        self._random = random.Random(number)
        self._name = f"user-{number}"
        self.answers: list[dict[str, Any]] = []
        self.progress = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._stop_asked.is_set():
            number += 1
            seed = f"{self._name}-{self._random.randrange(8)}"
            texts = self._random.sample([rows(seed), events(seed, 80), rows(seed, 40)], 2)
            body = conversation(*[ran(text, str(i)) for i, text in enumerate(texts)])
            self.answers.append(self._until_answered(body, f"{self._name}-{number}"))
            self.progress.set()

    def _until_answered(self, body: Any, request_id: str) -> dict[str, Any]:
        while True:
            try:
                answer = self._farm.post(
                    body, self._name, x_request_id=request_id, x_headroom_deadline_ms="1500"
                )
                if answer.status == 200:
                    found: dict[str, Any] = answer.json
                    return found
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                continue  # cut off


def test_totals_equal_the_answers_through_kills(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(api_processes=2).start()
    chance = random.Random(1)
    victims = ["redis", "cpu", "api", "front end"] * _EACH
    chance.shuffle(victims)
    redis, cpu, _, api = farm.parts
    parts: dict[str, Process] = {"redis": redis, "cpu": cpu, "api": api}
    stop = threading.Event()
    clients = [_Client(farm, number, stop) for number in range(_CLIENTS)]
    for client in clients:
        client.start()
    starts = {
        "redis": farm.start_redis,
        "api": farm.start_api,
        "cpu": lambda: farm.start_worker("cpu"),
    }
    try:
        for victim in victims:
            watched = chance.choice(clients)
            watched.progress.clear()
            assert watched.progress.wait(120), "no progress between two kills"
            if victim == "front end":  # one of the server's processes; the server makes another
                os.kill(chance.choice(parts["api"].children()), signal.SIGKILL)
                continue
            parts[victim].kill()
            parts[victim] = starts[victim]()
    finally:
        stop.set()
        for client in clients:
            client.join(120)
    assert not any(client.is_alive() for client in clients)
    answers = [answer for client in clients for answer in client.answers]
    assert len(answers) > _KILLS

    def totals() -> tuple[int, int, int] | None:
        got = farm.answer("/stats-history")
        if got is None or got.status != 200:
            return None
        life = got.json["lifetime"]
        return life["requests"], life["tokens_saved"], life["total_input_tokens"]

    wanted = (
        len(answers),
        sum(a["tokens_saved"] for a in answers),
        sum(a["tokens_after"] for a in answers),
    )
    # Entries in a killed front end's journal are adopted within ten seconds.
    try:
        until("equal", lambda: totals() == wanted)
    except AssertionError:
        assert totals() == wanted

    def by_user() -> dict[str, int]:
        got = farm.answer("/stats/insights")  # a process may still see no Redis, and refuse
        rows = got.json["by_user"] if got is not None and got.status == 200 else []
        return {row["user"]: row["requests"] for row in rows}

    insights = until("insights by user", by_user)
    assert insights == {f"user-{i}": len(c.answers) for i, c in enumerate(clients)}


def test_abandoned_request_counts_once(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm().start(cpu=0, gpu=0)
    body = json.dumps(conversation(ran(rows("gone")))).encode()
    head = (
        "POST /v1/compress HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"x-maas-username: {user()}\r\nx-headroom-deadline-ms: 700\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", farm.port)) as connection:
        connection.sendall(head.encode() + body)
        until("it waits in the queue", lambda: farm.redis.llen("rq:queue:cpu") == 1)
        until("its age is reported", lambda: _metric(farm, 'queue_oldest_seconds{pool="cpu"}') > 0)
        assert _metric(farm, 'queue_depth{pool="cpu"}') == 1
    until("counted", lambda: farm.get("/stats").json["summary"]["api_requests"] == 1)
    assert farm.get("/stats").json["recent_requests"][0]["tokens_saved"] == 0
    assert _metric(farm, 'degraded_total{reason="no_workers"}') == 1
    assert _metric(farm, 'uncompressed_total{reason="no_workers"}') == 1


def _metric(farm: Farm, name: str) -> float:
    lines = farm.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"headroom_{name} "))
