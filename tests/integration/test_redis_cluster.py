"""Users' state on a real Cluster: three primaries, one of them with a replica.

The nodes have only the users of ``deploy/valkey/state-cluster.acl``; queues and ledger are on
a separate server.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from deploy.ports import free_port
from shared import keys

from ..farm import Answer, Farm, request, until, user
from ..texts import conversation, events, ran, rows
from ..turns import took_a_turn
from ..valkeys import Valkey, cluster_of, join_cluster, running
from .test_redis_faults import filled

ROOT = {"username": "root", "password": "root"}


class Cluster:
    """Three primaries; the last server is the first one's replica."""

    def __init__(self, directory: Path) -> None:
        self.passwords = {"api": "secret-api", "worker": "secret-worker"}
        acl = directory / "users.acl"
        acl.write_text(
            filled("state-cluster.acl", self.passwords) + "user root on >root ~* +@all\n"
        )
        self.servers = [
            Valkey(
                directory / f"node-{number}",
                cluster_enabled="yes",
                cluster_port=free_port(),
                cluster_require_full_coverage="no",
                cluster_node_timeout=3000,
                cluster_replica_validity_factor=0,
                appendonly="yes",
                save='""',
                aclfile=acl,
                masteruser="root",
                masterauth="root",
            )
            for number in range(4)
        ]

    def form(self) -> None:
        """Join the running servers to a Cluster."""
        clients = [self.client(number) for number in range(4)]
        cluster_of(clients[:3], self.servers[0])
        join_cluster(clients[3:], self.servers[0])
        name = clients[0].execute_command("CLUSTER", "MYID").decode()
        until("the replica knows its primary", lambda: self._follows(clients[3], name))

    @staticmethod
    def _follows(client: redis.Redis, name: str) -> bool:
        try:
            client.execute_command("CLUSTER", "REPLICATE", name)
        except redis.ResponseError:
            return False
        return bool(client.info("replication")["master_link_status"] == "up")

    def client(self, number: int) -> redis.Redis:
        """A client of one node, with all permissions."""
        return self.servers[number].client(**ROOT)

    def home(self, name: str) -> int:
        """Return the primary that initially has a user's slot."""
        return key_slot(keys.cache(keys.user_tag(name)).encode()) * 3 // 16384

    def user_of(self, number: int) -> str:
        """Return a new user whose keys are on that primary."""
        return next(name for name in iter(user, "") if self.home(name) == number)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    with running(*made.servers):
        made.form()
        yield made


@pytest.fixture(scope="module")
def farm(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    directory = tmp_path_factory.mktemp("farm")
    nodes = ",".join(f"127.0.0.1:{server.port}" for server in cluster.servers[1:3])
    farm = Farm(directory)

    def of(name: str) -> dict[str, Any]:
        file = directory / f"{name}.password"
        file.write_text(cluster.passwords[name])
        url = f"redis+cluster://headroom-{name}@{nodes}"
        return {"state_url": url, "state_password_file": file}

    try:
        farm.start_redis()
        farm.start_worker("cpu", **of("worker"))
        farm.start_api(**of("api"))
        farm.until_ready(gpu=0)
        yield farm
    finally:
        farm.stop()


def _answered(farm: Farm, body: Any, name: str) -> Answer:
    """Post, and check that the answer is 200 even if a node does not answer."""
    answer = farm.post(body, name)
    assert answer.status == 200
    return answer


def _compresses(farm: Farm, name: str) -> bool:
    found = _answered(farm, conversation(ran(rows(user()))), name).json
    return bool(found["tokens_saved"] > 0 and found["degraded"] == [])


def _by_user(cluster: Cluster, numbers: range) -> dict[bytes, set[tuple[int, int]]]:
    """Return the slot and node of every key, by the user's tag in the key."""
    found: dict[bytes, set[tuple[int, int]]] = defaultdict(set)
    for number in numbers:
        for key in cluster.client(number).keys("*"):
            found[key.partition(b"{u:")[2].partition(b"}")[0]].add((number, key_slot(key)))
    return found


def test_user_keys_share_slot_on_cluster(farm: Farm, cluster: Cluster) -> None:
    names = [cluster.user_of(number) for number in range(3) for _ in range(2)]
    for name in names:
        body = conversation(ran(events(user())), ran(rows(user()), "b"))
        first = _answered(farm, body, name).json
        assert first["degraded"] == []
        assert first["tokens_saved"] > 0
        (digest, *_) = first["ccr_hashes"]
        for who, status in ((name, 200), (user(), 404)):
            assert _retrieve(farm, digest, who) == status
        assert took_a_turn(farm, name)
    places = _by_user(cluster, range(3))
    assert b"" not in places  # only users' state is here
    for name in names:
        ((number, slot),) = places[keys.user_tag(name).encode()]
        assert slot == key_slot(keys.cache(keys.user_tag(name)).encode())
        assert number == cluster.home(name)
    assert not list(farm.redis.scan_iter("farm:{u:[^p]*"))  # and none of it is with the queues

    def listed() -> set[str]:
        return {one["user_id"] for one in farm.get("/sessions").json["sessions"]}

    until("their sessions are written down", lambda: listed() >= set(names))
    assert cluster.client(0).acl_log() == []


def _retrieve(farm: Farm, digest: str, name: str) -> int:
    headers = {"x-maas-username": name}
    return request(farm.url, "GET", f"/v1/retrieve/{digest}", None, headers).status


def test_dead_node_affects_only_its_users(farm: Farm, cluster: Cluster) -> None:
    theirs, ours = cluster.user_of(1), [cluster.user_of(0), cluster.user_of(2)]
    for name in (theirs, *ours):
        until("it compresses", lambda name=name: _compresses(farm, name))
    cluster.servers[1].kill()
    for _ in range(3):
        body = conversation(ran(rows(user())))
        found = _answered(farm, body, theirs).json
        assert found["degraded"] == ["redis"]
        assert found["messages"] == body["messages"]
        for name in ours:
            assert _compresses(farm, name)
    ready = farm.get("/readyz")
    assert ready.status == 200
    assert ready.json["checks"]["state"] == "2 of 3 nodes, unreachable"
    node = f"127.0.0.1:{cluster.servers[1].port}"
    metrics = farm.get("/metrics").body.decode()
    assert f'cause="unreachable",node="{node}",place="state"' in metrics
    # The failure was noticed once, and no command was sent afterwards.
    trips = re.findall(r'breaker_trips_total\{.*place="state"\} (\S+)', metrics)
    assert [float(count) for count in trips] == [1.0]
    cluster.servers[1].start()
    until("its users are served again", lambda: _compresses(farm, theirs))
    until("all nodes are there", lambda: farm.get("/readyz").json["checks"]["state"] == "ok")


def test_replica_takes_over(farm: Farm, cluster: Cluster) -> None:
    name, known = cluster.user_of(0), conversation(ran(events(user())))
    (digest, *_) = _answered(farm, known, name).json["ccr_hashes"]
    until("the replica has it", lambda: cluster.client(0).wait(1, 1000))
    cluster.servers[0].kill()
    until("the replica serves", lambda: _compresses(farm, name))
    assert cluster.client(3).role()[0] == b"master"
    assert _retrieve(farm, digest, name) == 200
    until("all nodes are there", lambda: farm.get("/readyz").json["checks"]["state"] == "ok")
    assert all(part.alive for part in farm.parts)
