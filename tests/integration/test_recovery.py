"""Jobs of a dead worker are started again once, and no answer misses its deadline."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from shared import keys
from shared.jobs import Form, Job, unpack_form
from shared.settings import Settings
from workers.batcher import BatchCount
from workers.compress_block import Done
from workers.runtime.delivery import Delivery
from workers.runtime.queue import Begun, PoolQueue

from ..farm import Answer, Farm, until, user
from ..texts import conversation, ran, rows

LEASE_SECONDS = 1.5
"""Long enough for a busy machine to send two commands."""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with a gpu worker only; the tests act as the cpu worker."""
    with Farm(tmp_path_factory.mktemp("farm"), lease_seconds=LEASE_SECONDS) as one:
        yield one.start(cpu=0)


@pytest.fixture
def queue(farm: Farm) -> PoolQueue:
    """The cpu pool's queue, as a worker uses it."""
    return PoolQueue(farm.redis, "cpu", _settings())


def _settings() -> Settings:
    return Settings(lease_seconds=LEASE_SECONDS)  # type: ignore[call-arg, unused-ignore]


def _finished(farm: Farm, queue: PoolQueue, begun: Begun) -> None:
    """Deliver every block of a job as verbatim, and end the job.

    If the job only disappeared, the front end that waits for it would enqueue it again.
    """
    assert isinstance(begun.job, Job)
    delivery = Delivery(farm.redis, farm.redis, queue, _settings())
    for block in begun.job.blocks:
        delivery.deliver(begun.job, Done(block, Form(None), []), BatchCount())
    delivery.end(begun.id, "done")


@contextmanager
def _posted(farm: Farm, body: Any, name: str, **headers: str) -> Iterator[Future[Answer]]:
    """Post while the front end believes that the cpu pool has a worker."""
    farm.redis.zadd(keys.workers("cpu"), {"the-test": time.time() + 60})
    until("the front end sees it", lambda: farm.get("/readyz").json["checks"]["cpu_workers"])
    try:
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(farm.post, body, name, **headers)
    finally:
        farm.redis.zrem(keys.workers("cpu"), "the-test")


def _begun(queue: PoolQueue) -> tuple[Begun, Job]:
    """Take the next job and begin it, as a worker that then dies."""
    job_id = queue.pop(30)
    assert job_id is not None
    begun = queue.begin(job_id)
    assert isinstance(begun.job, Job)
    return begun, begun.job


def _counted(farm: Farm, name: str) -> int:
    return int(farm.redis.hget(keys.metrics("cpu"), name) or 0)  # type: ignore[arg-type]


def test_block_that_kills_two_workers_is_quarantined(farm: Farm, queue: PoolQueue) -> None:
    name = user()
    body = conversation(ran(rows("first")), ran(rows("second"), "b"))
    again, dead = _counted(farm, "jobs:again"), _counted(farm, "jobs:dead")
    with _posted(farm, body, name) as answer:
        first, job = _begun(queue)
        assert (first.starts, len(job.blocks)) == (0, 2)
        second, _ = _begun(queue)  # another worker has queued it again
        assert (second.id, second.starts) == (first.id, 1)
        culprit = job.blocks[1].key
        queue.mark(second.id, culprit)
        found = answer.result()
    assert found.status == 200
    assert found.json["messages"] == body["messages"]
    assert found.json["degraded"] == ["engine", "quarantine"]
    assert _counted(farm, "jobs:again") == again + 1
    until("it is counted", lambda: _counted(farm, "jobs:dead") == dead + 1)
    kept: Any = farm.redis.hgetall(keys.cache(keys.user_tag(name)))
    assert {key.decode() for key in kept} == {culprit}
    assert unpack_form(kept[culprit.encode()]).outcome == "quarantined"
    assert farm.redis.hlen(keys.jobs("cpu")) == 0
    assert farm.redis.zcard(keys.leases("cpu")) == 0
    # Text sent verbatim stays verbatim in this conversation. In another conversation the other
    # block is compressed; no worker gets the quarantined one.
    assert farm.post(body, name).json["messages"] == body["messages"]
    other = conversation(ran(rows("second"), "b"), ran(rows("first")))
    with _posted(farm, other, name) as answer:
        third, job = _begun(queue)
        assert len(job.blocks) == 1
        assert job.blocks[0].key != culprit
        _finished(farm, queue, third)
        answer.result()


def test_popped_job_without_start_is_queued_again(farm: Farm, queue: PoolQueue) -> None:
    with _posted(farm, conversation(ran(rows(user()))), user()) as answer:
        popped = queue.pop(30)
        begun, _ = _begun(queue)
        assert begun.id == popped
        assert begun.starts == 1
        _finished(farm, queue, begun)
        assert answer.result().status == 200


def test_worker_that_renews_lease_keeps_job(farm: Farm, queue: PoolQueue) -> None:
    with _posted(farm, conversation(ran(rows(user()))), user()) as answer:
        begun, _ = _begun(queue)
        end = time.time() + 3 * LEASE_SECONDS

        def reaped_past_the_lease() -> bool:
            queue.renew({begun.id: begun.lease_ms})
            return float(farm.redis.get(keys.reaped("cpu")) or 0) / 1000 > end  # type: ignore[arg-type]

        until("others looked for lapsed leases", reaped_past_the_lease)
        assert farm.redis.llen(keys.queue("cpu")) == 0
        assert farm.redis.hget(keys.job(begun.id), "again") is None
        _finished(farm, queue, begun)
        assert answer.result().status == 200


def test_lost_job_is_enqueued_again(farm: Farm, queue: PoolQueue) -> None:
    with _posted(farm, conversation(ran(rows(user()))), user()) as answer:
        lost, _ = _begun(queue)
        farm.redis.unlink(keys.job(lost.id))
        again, _ = _begun(queue)
        assert again.id != lost.id
        until("the first is forgotten", lambda: not farm.redis.hexists(keys.jobs("cpu"), lost.id))
        _finished(farm, queue, again)
        assert farm.redis.hlen(keys.jobs("cpu")) == 0
        assert farm.redis.llen(keys.taken("cpu")) == 0
        assert answer.result().json["degraded"] == []


def test_deleted_queue_accepts_jobs_again(farm: Farm, queue: PoolQueue) -> None:
    soon = {"x_headroom_deadline_ms": "4000"}
    with _posted(farm, conversation(ran(rows(user()))), user(), **soon) as answer:
        until("it waits", lambda: farm.redis.llen(keys.queue("cpu")))
        assert int(farm.redis.hget(keys.load("cpu"), "blocks") or 0) == 1  # type: ignore[arg-type]
        farm.redis.delete(keys.queue("cpu"))
        until("its load is gone", lambda: not farm.redis.exists(keys.load("cpu"), keys.jobs("cpu")))
        assert answer.result().json["degraded"] == ["deadline"]


_HOLDS = """
import threading
from workers.runtime.queue import PoolQueue
PoolQueue.begin = lambda *given: threading.Event().wait()
"""
"""Makes a worker pop a job but never begin it."""


def test_killed_workers_job_is_done_by_another(
    own_farm: Callable[..., Farm],
) -> None:
    farm = own_farm().start(gpu=0)
    (second,) = [p for p in farm.parts if "worker-cpu" in p.log.name]
    second.signal(signal.SIGSTOP)

    def popping() -> int:
        return sum(c["cmd"] == "blmove" and "b" in c["flags"] for c in farm.redis.client_list())

    # A stopped worker's blocking pop would still take the job: let it time out first.
    until("no worker waits for jobs", lambda: popping() == 0)
    first = farm.start_worker("cpu", _HOLDS)
    until("the first was heard of", lambda: farm.redis.zcard(keys.workers("cpu")) == 2)
    farm.until_ready(gpu=0)  # the second counts as dead by then
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(farm.post, conversation(ran(rows(user()))), user())
        until("the first has it", lambda: farm.redis.llen(keys.taken("cpu")) == 1)
        first.signal(signal.SIGKILL)
        second.signal(signal.SIGCONT)
        found = answer.result().json
    assert found["degraded"] == []
    assert found["tokens_saved"] > 0
    assert _counted(farm, "jobs:again") == 1
    given: Any = Settings
    assert 2 * given().lease_seconds < given().deadline_ms / 1000 / 2  # in time, too


def test_endless_native_code_ends_its_worker() -> None:
    program = """
import itertools
from workers.runtime.limits import EngineTimeout, Limit
limit = Limit(1)
def loop():
    while True:
        try:
            while True:
                pass
        except Exception:  # as headroom does: it would go on with another engine
            pass
try:
    limit(loop)
except EngineTimeout:
    print("python ended", flush=True)
limit(lambda: sum(itertools.repeat(0)))  # holds the interpreter's lock and never checks for signals
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180
    )
    assert done.stdout == "python ended\n"
    assert done.returncode == 1
