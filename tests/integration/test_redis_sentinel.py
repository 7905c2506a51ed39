"""A farm whose Redis is a Sentinel set's master survives a failover."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.ports import free_port

from ..farm import Farm, request, until, user
from ..texts import conversation, events, ran, rows
from ..valkeys import Valkey, running


class Set:
    """A master, its replica and one Sentinel, which decides alone; each has a password."""

    def __init__(self, directory: Path) -> None:
        shared = {"requirepass": "secret", "masterauth": "secret", "appendonly": "yes"}
        self.master = Valkey(directory / "master", save='""', **shared)
        lag = {"repl_diskless_sync_delay": 0}
        self.master.options.update(lag)
        follow = f"127.0.0.1 {self.master.port}"
        self.replica = Valkey(directory / "replica", save='""', replicaof=follow, **shared, **lag)
        self.sentinel = Valkey(directory / "sentinel", "--sentinel", requirepass="sentinels")
        self.sentinel.write(
            f"sentinel monitor farm 127.0.0.1 {self.master.port} 1",
            "sentinel auth-pass farm secret",
            "sentinel down-after-milliseconds farm 2000",
            "sentinel failover-timeout farm 3000",
        )

    def knows_the_replica(self) -> bool:
        """Return whether the Sentinel has found the replica, and the replica is in sync."""
        asked = self.sentinel.client(password="sentinels").execute_command("SENTINEL MASTERS")
        follows = self.replica.client(password="secret").info("replication")
        return asked["farm"]["num-slaves"] == 1 and follows["master_link_status"] == "up"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    made = Set(tmp_path_factory.mktemp("sentinel"))
    with running(made.master, made.replica, made.sentinel):
        until("the replica is known", made.knows_the_replica)
        yield made


@pytest.fixture(scope="module")
def farm(servers: Set, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    # The first Sentinel is not running, so the next one is asked.
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{servers.sentinel.port}"
    farm = Farm(
        tmp_path_factory.mktemp("farm"),
        redis_url=f"redis+sentinel://:secret@{hosts}/farm/0",
        sentinel_password="sentinels",
    )
    try:
        farm.start_worker("cpu")
        farm.start_api()
        farm.until_ready(gpu=0)
        yield farm
    finally:
        farm.stop()


def test_failover_loses_no_answer_and_no_entry(servers: Set, farm: Farm) -> None:
    asked = 0

    def post(body: Any, name: str) -> dict[str, Any]:
        nonlocal asked
        answer = farm.post(body, name)
        assert answer.status == 200
        asked += 1
        found: dict[str, Any] = answer.json
        return found

    def compresses() -> bool:
        return bool(post(conversation(ran(rows(user()))), user())["tokens_saved"] > 0)

    name, known = user(), conversation(ran(events(user())))
    (digest, *_) = post(known, name)["ccr_hashes"]
    until("the replica has it", lambda: servers.master.client(password="secret").wait(1, 1000))
    servers.master.kill()
    found = post(conversation(ran(rows(user()))), user())
    assert found["degraded"] == ["redis"]
    assert farm.get("/readyz").json["checks"]["redis"] == "unreachable"
    until("it compresses again", compresses)
    until("ready", lambda: farm.get("/readyz").status == 200)
    assert servers.replica.client(password="secret").role()[0] == b"master"
    assert all(part.alive for part in farm.parts)
    headers = {"x-maas-username": name}
    assert request(farm.url, "GET", f"/v1/retrieve/{digest}", None, headers).status == 200
    until(
        "every answer is recorded",
        lambda: farm.get("/stats").json["summary"]["api_requests"] == asked,
    )
