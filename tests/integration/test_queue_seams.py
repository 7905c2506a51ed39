"""Every private name of rq and redis-py in use, so that an upgrade fails here first."""

from __future__ import annotations

import inspect
import os
import signal
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import redis
from redis.asyncio import cluster as asynchronous
from redis.cluster import ClusterPipeline, RedisCluster
from redis.commands.policies import StaticPolicyResolver
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import UnixSignalDeathPenalty
from rq.worker import SimpleWorker
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from shared import keys
from shared.cluster import _PATIENCE, Cluster
from workers.worker import FarmWorker

from ..farm import Farm, until
from ..valkeys import Valkey, running

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client of a separate server."""
    server = Valkey(tmp_path_factory.mktemp("seams"))
    with running(server):
        yield server.client()


@pytest.mark.parametrize("name", ["redis", "rq"])
def test_pins_version_whose_private_names_are_used(name: str) -> None:
    (pin,) = [p for p in PROJECT["dependencies"] if p.split("[")[0].split("==")[0] == name]
    assert pin.partition("==")[2] == version(name)


def test_keys_match_those_of_rq(client: redis.Redis) -> None:
    queue = Queue("cpu", connection=client)
    worker = SimpleWorker([queue], connection=client, name="w", serializer=JSONSerializer)
    assert queue.key == keys.queue("cpu")
    assert queue.intermediate_queue_key == keys.taken("cpu")
    assert Job.key_for("a") == keys.job("a")
    assert queue.redis_queues_keys == "rq:queues"
    assert (worker.key, worker.redis_workers_keys) == ("rq:worker:w", "rq:workers")
    assert f"rq:workers:{queue.name}" == WORKERS_BY_QUEUE_KEY % queue.name


def test_worker_overrides_only_listed_rq_methods(client: redis.Redis) -> None:
    worker = SimpleWorker(["cpu"], connection=client, name="w")
    theirs = {n for n in {*dir(SimpleWorker), *vars(worker)} if not n.startswith("__")}
    ours = {n for n in vars(FarmWorker) if not n.startswith("__")}
    ours |= set(FarmWorker.__init__.__code__.co_names) & {
        line.split("self.")[1].split(" ")[0].split(":")[0]
        for line in inspect.getsource(FarmWorker.__init__).splitlines()
        if line.strip().startswith("self._") and "=" in line
    }
    assert ours & theirs == set()
    assert "_queue" in ours
    for name in ("register_birth", "register_death"):
        assert callable(getattr(worker, name))
    assert worker.worker_ttl > 0
    assert {"name", "connection", "serializer"} <= inspect.signature(SimpleWorker).parameters.keys()


def test_death_penalty_of_rq_ends_a_call() -> None:
    with pytest.raises(KeyError), UnixSignalDeathPenalty(1, KeyError):
        signal.pause()


def test_redis_py_supports_scripts_on_clusters() -> None:
    assert {"policy_resolver", *_PATIENCE} <= inspect.signature(RedisCluster).parameters.keys()
    assert _PATIENCE.keys() <= inspect.signature(asynchronous.RedisCluster).parameters.keys()
    assert "_policy_resolver" in inspect.getsource(ClusterPipeline.__init__)
    assert StaticPolicyResolver().resolve("ft.suglen") is not None
    for name in ("get_primaries", "keyslot"):
        assert callable(getattr(asynchronous.RedisCluster, name))
    assert "slots_cache" in inspect.getsource(asynchronous.NodesManager)
    assert issubclass(Cluster, RedisCluster)


def test_names_of_dead_workers_leave_rqs_registry(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    farm.start_redis()
    gone = f"rq:worker:killed-{os.getpid()}"
    for registry in ("rq:workers", "rq:workers:cpu"):
        farm.redis.sadd(registry, gone)
    farm.start_worker("cpu")
    until("it is registered", lambda: farm.redis.exists(keys.workers("cpu")))
    assert farm.redis.scard("rq:workers") == farm.redis.scard("rq:workers:cpu") == 1
