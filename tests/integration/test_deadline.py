"""Whatever fails, the answer is 200, in time, and gives the reasons for missing savings."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from rq import Queue, Worker
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from shared import keys
from shared.jobs import FUNCTION, Block, Job, Options, job_data

from ..farm import Answer, Farm, Process, request, until, user
from ..texts import conversation, manual, plain_prose, ran, rows

LATE = {"x_headroom_deadline_ms": "1500"}
"""Sent with requests that must be late; the others have the farm's long deadline."""
MAX_BLOCKS = 4


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with one cpu worker and short queues."""
    with Farm(tmp_path_factory.mktemp("bounded"), queue_max_blocks=MAX_BLOCKS) as farm:
        yield farm.start(gpu=0)


@pytest.fixture
def bounded(_running: Farm) -> Iterator[Farm]:
    """That farm; afterwards all its parts run and the cpu pool is empty."""
    yield _running
    for part in _running.parts:
        if part.alive:
            part.signal(signal.SIGCONT)
    until("the pool is empty", lambda: not _running.redis.exists(keys.jobs("cpu")))
    _running.until_ready(gpu=0)


def _part(farm: Farm, name: str) -> Process:
    return next(p for p in farm.parts if p.alive and p.log.name.startswith(name))


def _worker(farm: Farm, pool: str) -> Process:
    return _part(farm, f"worker-{pool}")


def _verbatim(answer: Answer, body: dict[str, Any], reason: str) -> None:
    assert answer.status == 200
    found = answer.json
    assert found["messages"] == body["messages"]
    assert found["tokens_saved"] == 0
    assert found["degraded"] == [reason]
    assert f"farm:verbatim:{reason}" in found["transforms_applied"]


@contextmanager
def _full_queue(farm: Farm, jobs: int = MAX_BLOCKS // 2) -> Iterator[None]:
    """Enqueue jobs of two blocks for a stopped worker, whose blocking pop may still take one."""
    worker = _worker(farm, "cpu")
    worker.signal(signal.SIGSTOP)
    farm.redis.zadd(
        keys.workers("cpu"), {"the-test": time.time() + 600}
    )  # instead of its heartbeats
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for _ in range(jobs):
                body = conversation(ran(rows(user())), ran(rows(user()), "b"))
                pool.submit(farm.post, body, user())
            held = (keys.queue("cpu"), keys.taken("cpu"))
            until("all are there", lambda: sum(farm.redis.llen(key) for key in held) == jobs)
            yield
        finally:
            worker.signal(signal.SIGCONT)
            farm.redis.zrem(keys.workers("cpu"), "the-test")


def test_late_block_stays_verbatim_and_fills_cache(bounded: Farm) -> None:
    farm = bounded
    name, body = user(), conversation(ran(rows("slow")))
    _worker(farm, "cpu").signal(signal.SIGSTOP)
    answer = farm.post(body, name, **LATE)
    _verbatim(answer, body, "deadline")
    _worker(farm, "cpu").signal(signal.SIGCONT)
    until("the late block is cached", lambda: farm.redis.exists(keys.cache(keys.user_tag(name))))
    other = conversation(*[[*body["messages"][1:], {"role": "user", "content": "thanks"}]])
    other["messages"][0] = {"role": "user", "content": "the same in another conversation"}
    later = farm.post(other, name).json
    assert later["degraded"] == []


def test_blocks_done_by_deadline_are_compressed(bounded: Farm) -> None:
    farm = bounded
    slow = farm.start_worker("gpu")
    farm.until_ready()
    slow.signal(signal.SIGSTOP)
    body = conversation(ran(rows("quick")), manual(plain_prose("slow"), "b"))
    found = farm.post(body, user(), x_headroom_deadline_ms="5000").json
    slow.stop()
    assert found["degraded"] == ["deadline"]
    assert found["messages"][-1] == body["messages"][-1]
    assert found["messages"][2] != body["messages"][2]
    assert found["tokens_saved"] > 0


@pytest.mark.parametrize(("header", "most_ms"), [("20000", 20_000), ("99999999", 60_000)])
def test_header_can_only_shorten_the_deadline(bounded: Farm, header: str, most_ms: int) -> None:
    farm = bounded
    _worker(farm, "cpu").signal(signal.SIGSTOP)
    body = conversation(ran(rows(user())))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(farm.post, body, user(), x_headroom_deadline_ms=header)
        try:
            (held,) = until("its job is there", lambda: farm.redis.hkeys(keys.jobs("cpu")))
            job = RqJob.fetch(held.decode(), connection=farm.redis, serializer=JSONSerializer)
        finally:
            _worker(farm, "cpu").signal(signal.SIGCONT)
        assert answer.result().status == 200
    given = job.kwargs or job.args[0]
    # The time left when the job was created: that of the request, less planning.
    assert 0 < given["wait_ms"] <= most_ms


def test_empty_pool_is_answered_at_once(bounded: Farm) -> None:
    farm = bounded
    farm.redis.delete(keys.queue("gpu"))
    body = conversation(manual(plain_prose(user())))
    answer = farm.post(body, user())
    _verbatim(answer, body, "no_workers")
    assert farm.redis.llen(keys.queue("gpu")) == 1  # for the autoscaler, and for workers that start


def test_full_queue_leaves_new_blocks_verbatim(bounded: Farm) -> None:
    farm = bounded
    body = conversation(ran(rows(user())))
    with _full_queue(farm):
        answer = farm.post(body, user())
    _verbatim(answer, body, "overload")
    until("the pool is empty", lambda: farm.redis.hlen(keys.jobs("cpu")) == 0)
    assert farm.post(body, user()).json["tokens_saved"] > 0


def test_recovers_after_redis_restart(bounded: Farm) -> None:
    farm = bounded
    name, known = user(), conversation(ran(rows("known")))
    assert farm.post(known, name).json["tokens_saved"] > 0
    _part(farm, "valkey").kill()
    body = conversation(ran(rows(user())))
    for _ in range(3):
        answer = farm.post(body, user())
        _verbatim(answer, body, "redis")
    remembered = farm.post(known, name).json
    assert remembered["tokens_saved"] > 0  # from this process's memory
    assert request(farm.url, "GET", "/readyz").status == 503
    assert request(farm.url, "GET", "/readyz").json["reason"] == "redis"
    assert request(farm.url, "GET", "/livez").status == 200
    farm.start_redis()
    until("it compresses again", lambda: farm.post(body, user()).json["tokens_saved"] > 0)
    until("ready", lambda: request(farm.url, "GET", "/readyz").status == 200)


def test_paused_redis_is_answered_by_deadline(bounded: Farm) -> None:
    farm = bounded
    valkey = _part(farm, "valkey")
    valkey.signal(signal.SIGSTOP)
    body = conversation(ran(rows(user())))
    answer = farm.post(body, user(), **LATE)
    _verbatim(answer, body, "redis")
    valkey.signal(signal.SIGCONT)
    until("it compresses again", lambda: farm.post(body, user()).json["tokens_saved"] > 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"\x80\x04\x95pickle",
        b"[]",
        json.dumps(["os.system", None, ["true"], {}]).encode(),
        json.dumps(["workers.tasks.compress_blocks", None, [{"user": 1}], {}]).encode(),
        json.dumps(["workers.tasks.compress_blocks", "x", [], {"a": 1}]).encode(),
    ],
)
def test_worker_runs_only_jobs_of_the_farm(farm: Farm, data: bytes) -> None:
    farm.redis.hset(keys.job("foreign"), mapping={"data": data, "origin": "cpu"})
    farm.redis.rpush(keys.queue("cpu"), "foreign")
    until("the job is gone", lambda: not farm.redis.exists(keys.job("foreign")))
    assert farm.post(conversation(ran(rows(user()))), user()).json["tokens_saved"] > 0


def test_worker_rejects_job_of_another_function(farm: Farm) -> None:
    name = user()
    block = Block("key", rows(name), "tool_result", "user")
    job = Job(keys.user_tag(name), "farm:replies:nobody", Options(), "", "id", [block])
    for function, runs in (("os.system", False), (FUNCTION, True)):
        data = job_data(job).replace(FUNCTION.encode(), function.encode())
        farm.redis.hset(keys.job("made"), mapping={"data": data, "origin": "cpu"})
        farm.redis.rpush(keys.queue("cpu"), "made")
        until("the job is gone", lambda: not farm.redis.exists(keys.job("made")))
        assert bool(farm.redis.hexists(keys.cache(keys.user_tag(name)), "key")) is runs


def test_rq_tools_show_queue_workers_and_jobs(bounded: Farm) -> None:
    farm = bounded
    workers = until(
        "the worker is registered",
        lambda: Worker.all(connection=farm.redis, serializer=JSONSerializer),
    )
    assert [w.queue_names() for w in workers] == [["cpu"]]
    with _full_queue(farm):
        queue = Queue("cpu", connection=farm.redis, serializer=JSONSerializer)
        assert queue.count in (1, 2)
        job = queue.jobs[-1]
        assert job.func_name == "workers.tasks.compress_blocks"
        assert len(job.args[0]["blocks"]) == 2  # a request's blocks are grouped into few jobs


def test_sigterm_lets_worker_finish_its_job(bounded: Farm) -> None:
    farm = bounded
    worker = _worker(farm, "cpu")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert farm.redis.zcard(keys.workers("cpu")) == 0
    assert not Worker.all(connection=farm.redis, serializer=JSONSerializer)
    farm.start_worker("cpu")
