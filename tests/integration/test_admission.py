"""Admission to a pool: atomic; each user may hold at most as much as is still free."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import keys
from shared.claim_protocol import ABSENT, CLAIMED, LEASE_MS, Claiming
from shared.scripts import script
from shared.settings import Settings
from workers.runtime.queue import PoolQueue

from ..farm import Farm, until, user
from ..texts import conversation, ran, rows

Push = Callable[..., int]


@pytest.fixture
def pool() -> str:
    """A new pool."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def push(farm: Farm, pool: str) -> Push:
    """Return a function that enqueues a job as a front end does."""
    run = farm.redis.register_script(script("push_job"))

    def ask(
        job: str,
        user: str,
        blocks: int = 1,
        size: int = 10,
        most: int = 8,
        ms: int = 60_000,
        bytes_ahead: int = -1,
        tenant: str = "",
    ) -> int:
        wanted = [job, user, blocks, size, most, 1000, 60, "2026-01-01T00:00:00Z", pool, b"[]"]
        found: int = run(
            keys=[keys.queue(pool), keys.job(job), keys.load(pool), keys.jobs(pool)],
            args=[*wanted, ms, keys.JOB_PREFIX, bytes_ahead, tenant],
        )
        return found

    return ask


def _waiting(farm: Farm, pool: str) -> list[str]:
    found: list[bytes] = farm.redis.lrange(keys.queue(pool), 0, -1)  # type: ignore[assignment]
    return [job.decode() for job in found]


def test_flood_of_one_user_takes_half(farm: Farm, pool: str, push: Push) -> None:
    taken = [push(f"{pool}-a{n}", "a") for n in range(6)]
    assert taken == [1, 1, 1, 1, 0, 0]
    assert [push(f"{pool}-b{n}", "b") for n in range(3)] == [1, 1, 0]
    assert push(f"{pool}-c", "c") == 1
    assert not farm.redis.exists(keys.job(f"{pool}-a5"))  # a refused job leaves nothing


def test_rejects_job_when_oldest_waits_too_long(farm: Farm, pool: str, push: Push) -> None:
    assert push(f"{pool}-a1", "a", most=100) == 1
    assert push(f"{pool}-a2", "a", most=100) == 1
    farm.redis.hincrby(keys.job(f"{pool}-a1"), "since", -5000)  # it has waited for five seconds
    assert push(f"{pool}-a3", "a", most=100, ms=4000) == 0
    assert push(f"{pool}-a4", "a", most=100, ms=9000) == 1
    assert _waiting(farm, pool) == [f"{pool}-{job}" for job in ("a1", "a2", "a4")]
    queue = PoolQueue(farm.redis, pool, Settings())  # type: ignore[call-arg, unused-ignore]
    assert queue.pop(1) == f"{pool}-a1"
    assert push(f"{pool}-a5", "a", most=100, ms=4000) == 1


def test_rejects_job_when_backlog_exceeds_deadline(farm: Farm, pool: str, push: Push) -> None:
    sent = [push(f"{pool}-a{n}", "a", most=100, bytes_ahead=25) for n in range(5)]
    assert sent == [1, 1, 1, 0, 0]  # of ten bytes each
    assert push(f"{pool}-a5", "a", most=100, bytes_ahead=30) == 1
    others = [push(f"{pool}-{name}", name, most=100, bytes_ahead=25) for name in "bcd"]
    assert others == [1, 1, 0]  # ahead of all but the first of a's
    queue = PoolQueue(farm.redis, pool, Settings())  # type: ignore[call-arg, unused-ignore]
    while queue.pop_more():
        pass
    assert push(f"{pool}-e", "e", most=100, bytes_ahead=0) == 1  # no job waits


def test_ignores_another_users_long_wait(farm: Farm, pool: str, push: Push) -> None:
    for job in ("a1", "a2"):
        assert push(f"{pool}-{job}", "a", most=100) == 1
    queue = PoolQueue(farm.redis, pool, Settings())  # type: ignore[call-arg, unused-ignore]
    assert queue.pop(1) == f"{pool}-a1"
    farm.redis.hincrby(keys.job(f"{pool}-a2"), "since", -5000)
    assert push(f"{pool}-b", "b", most=100, ms=1000) == 1  # placed first
    assert _waiting(farm, pool) == [f"{pool}-b", f"{pool}-a2"]
    farm.redis.hincrby(keys.job(f"{pool}-b"), "since", -5000)
    assert push(f"{pool}-c", "c", most=100, ms=1000) == 0  # behind other users without queued work


def test_places_users_without_queued_work_first(farm: Farm, pool: str, push: Push) -> None:
    for job, name in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")):
        assert push(f"{pool}-{job}", name, most=100) == 1
    order = [job.removeprefix(f"{pool}-") for job in _waiting(farm, pool)]
    assert order == ["a1", "b1", "c1", "a2", "b2"]
    queue = PoolQueue(farm.redis, pool, Settings())  # type: ignore[call-arg, unused-ignore]
    for _ in range(3):
        job = queue.pop(1)
        assert job is not None
        queue.done(job, "done")
    assert push(f"{pool}-d1", "d", most=100) == 1  # the last one ahead was taken meanwhile
    assert _waiting(farm, pool)[0] == f"{pool}-d1"


def test_finished_jobs_release_their_queued_bytes(farm: Farm, pool: str, push: Push) -> None:
    assert push(f"{pool}-big", "a", size=5000) == 1  # nothing else is there
    assert push(f"{pool}-b", "b") == 0
    queue = PoolQueue(farm.redis, pool, Settings())  # type: ignore[call-arg, unused-ignore]
    job = queue.pop(1)
    assert job is not None
    queue.done(job, "done")
    assert not farm.redis.exists(keys.load(pool), keys.jobs(pool))  # nothing held, nothing kept
    assert push(f"{pool}-b", "b", size=500) == 1
    assert push(f"{pool}-b2", "b", size=501) == 0
    assert push(f"{pool}-c", "c", size=500) == 1
    queue.done(job, "done")  # idempotent
    assert farm.redis.hget(keys.load(pool), "bytes") == b"1000"
    queue.done(f"{pool}-b", "done")
    assert farm.redis.hgetall(keys.load(pool)) == {
        b"blocks": b"1",
        b"bytes": b"500",
        b"blocks:c": b"1",
        b"bytes:c": b"500",
        b"ahead": f"{pool}-c".encode(),
    }


def test_tenant_that_invents_users_gets_one_share(farm: Farm, pool: str, push: Push) -> None:
    taken = [push(f"{pool}-a{n}", f"a{n}", tenant="a") for n in range(6)]
    assert taken == [1, 1, 1, 1, 0, 0]
    assert [push(f"{pool}-b{n}", "b", tenant="b") for n in range(2)] == [1, 1]
    assert _waiting(farm, pool)[:2] == [f"{pool}-a0", f"{pool}-b0"]  # but one of a's is ahead
    queue = PoolQueue(farm.redis, pool, Settings())  # type: ignore[call-arg, unused-ignore]
    for job in [f"{pool}-a{n}" for n in range(4)]:
        queue.done(job, "done")
    assert {n for n in farm.redis.hkeys(keys.load(pool)) if n.endswith(b":a")} == set()
    assert push(f"{pool}-a9", "a9", tenant="a") == 1  # its space was released


def test_user_beside_tenants_flood_is_placed_fairly(farm: Farm, pool: str, push: Push) -> None:
    for n in range(3):
        assert push(f"{pool}-x{n}", "x", most=100, tenant="a") == 1
    assert push(f"{pool}-b0", "b", most=100) == 1
    assert push(f"{pool}-y0", "y", most=100, tenant="a") == 1
    order = [job.removeprefix(f"{pool}-") for job in _waiting(farm, pool)]
    assert order == ["x0", "b0", "y0", "x2", "x1"]  # only the flood waits for it


def test_flood_inside_tenant_leaves_space_for_others(farm: Farm, pool: str, push: Push) -> None:
    taken = [push(f"{pool}-x{n}", "x", most=9, tenant="a") for n in range(5)]
    assert taken == [1, 1, 1, 0, 0]  # a third: half of what its tenant could have
    assert push(f"{pool}-y", "y", most=9, tenant="a") == 1


def test_release_names_requests_waiting_for_claim(farm: Farm) -> None:
    user = secrets.token_hex(12)
    claiming = Claiming(farm.redis)
    assert claiming.look_up(user, ["k"]) == [ABSENT]
    assert claiming.claim(user, "x", ["k", "l"]) == [CLAIMED, CLAIMED]
    for _ in range(2):
        assert -LEASE_MS <= claiming.claim(user, "y", ["k"])[0] < 0
    assert claiming.release(user, "y", ["k"]) == [[]]  # it is not y's
    assert claiming.release(user, "x", ["k", "l", "m"]) == [[b"x", b"y"], [b"x"], []]
    assert claiming.claim(user, "z", ["k"]) == [CLAIMED]


def test_loads_scripts_again_after_redis_lost_them(farm: Farm) -> None:
    for _ in range(2):
        farm.redis.script_flush()
        answer = farm.post(conversation(ran(rows(user()))), user()).json
        assert answer["tokens_saved"] > 0
        assert answer["degraded"] == []
    until("no job is left", lambda: not farm.redis.hlen(keys.jobs("cpu")))
    assert not farm.redis.llen(keys.taken("cpu"))


_SLOW = """
import time
from workers import worker
done = worker.compress_block
worker.compress_block = lambda *given: (time.sleep(0.5), done(*given))[1]
"""


def test_slow_pool_rejects_work_beyond_deadline(
    own_farm: Callable[..., Farm],
) -> None:
    farm = own_farm(deadline_ms=12_000).start(cpu=0, gpu=0)
    farm.start_worker("cpu", _SLOW)
    farm.until_ready(gpu=0)
    for _ in range(15):  # its measured pace includes the fast warm-up
        assert farm.post(conversation(ran(rows(user()))), user()).json["degraded"] == []
    bodies = [conversation(ran(rows(user()))) for _ in range(30)]
    with ThreadPoolExecutor(len(bodies)) as crowd:
        found = list(crowd.map(lambda body: farm.post(body, user()).json, bodies))
    reasons = Counter(reason for answer in found for reason in answer["degraded"])
    assert reasons.keys() == {"overload"}  # no request waits in vain
    assert 0 < reasons["overload"] < len(bodies)
    assert all(answer["tokens_saved"] > 0 for answer in found if not answer["degraded"])
