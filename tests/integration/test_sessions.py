"""Turns of a session: same bytes, savings in every turn, separate state for each user."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from loadtest.sessions import MESSAGES_PER_TURN, session
from shared import keys

from ..farm import Answer, Farm, Process, until, user
from ..texts import conversation, events, ran, rows

_raw = msgspec.json.Decoder(
    type("B", (msgspec.Struct,), {"__annotations__": {"messages": list[msgspec.Raw]}})
)


def _slices(answer: Answer) -> list[bytes]:
    return [bytes(m) for m in _raw.decode(answer.body).messages]  # type: ignore[attr-defined]


def _turns(seed: int, count: int, shape: Any = "anthropic") -> list[bytes]:
    messages = session(seed, count, shape)
    return [
        json.dumps({"messages": messages[: MESSAGES_PER_TURN * n], "model": "claude-x"}).encode()
        for n in range(1, count + 1)
    ]


def _changes(before: list[bytes], after: list[bytes]) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]


@pytest.mark.parametrize("shape", ["anthropic", "openai"])
def test_replayed_session_keeps_bytes_and_savings(farm: Farm, shape: str) -> None:
    name = user()
    last: list[bytes] = []
    saved: list[int] = []
    changed: set[int] = set()
    code_was_recent = False
    for body in _turns(1, 60, shape):
        answer = farm.post(body, name)
        assert answer.json["degraded"] == []
        slices = _slices(answer)
        # Two of headroom's rules may change an old message, once: for a read of a file that this
        # turn edits, and for code, which is protected while it is recent.
        for index in _changes(last, slices):
            if b"Read content stale" not in slices[index]:
                assert code_was_recent
                assert json.loads(last[index]) == json.loads(body)["messages"][index]
            assert index not in changed
            changed.add(index)
        last = slices
        code_was_recent = "router:protected:recent_code" in answer.json["transforms_applied"]
        saved.append(answer.json["tokens_saved"])
    assert saved == sorted(saved)
    assert saved[-1] > 0
    again = farm.post(body, name)
    assert _slices(again) == last
    assert again.json["tokens_saved"] == saved[-1]


def test_restarted_front_end_gives_same_session_bytes(
    own_farm: Callable[..., Farm],
) -> None:
    farm = own_farm().start()
    name = user()
    bodies = _turns(2, 12)
    before = [_slices(farm.post(body, name)) for body in bodies]
    api = farm.parts[-1]
    api.stop()
    for worker in farm.parts[1:-1]:
        worker.stop()  # all forms must now come from Redis
    farm.start_api()
    answer = farm.post(bodies[-1], name)
    assert answer.json["degraded"] == []
    assert _slices(answer) == before[-1]


def test_users_share_nothing(farm: Farm) -> None:
    body = conversation(ran(events(user())), ran(rows(user()), "b"))
    one, other = user(), user()
    first = farm.post(body, one).json
    tags = {keys.user_tag(one), keys.user_tag(other)}
    assert not farm.redis.exists(keys.cache(keys.user_tag(other)))
    second = farm.post(body, other).json
    assert first["messages"] == second["messages"]
    for tag in tags:
        assert farm.redis.hlen(keys.cache(tag)) == 2
        assert list(farm.redis.scan_iter(keys.original(tag, "*")))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with small limits and a short session TTL."""
    with Farm(
        tmp_path_factory.mktemp("small"),
        max_cache_entries=5,
        max_user_sessions=2,
        session_ttl=1000,
        ccr_ttl_seconds=1000,
    ) as farm:
        yield farm.start(gpu=0)


def test_session_cache_is_bounded_and_expires(small: Farm) -> None:
    farm, name = small, user()
    for number in range(12):
        farm.post(conversation(ran(rows(f"{name}{number}"))), name)
    tag = keys.user_tag(name)
    assert farm.redis.hlen(keys.cache(tag)) == 5
    assert farm.redis.zcard(keys.ages(tag)) == 5
    for key in farm.redis.scan_iter(f"farm:{{u:{tag}}}*"):
        stones = key == keys.tombstones(tag).encode()
        assert 0 < farm.redis.ttl(key) <= (keys.TOMBSTONE_TTL_SECONDS if stones else 1250), key
    # A worker removes a job only after it has delivered the result.
    until("no job is left", lambda: not list(farm.redis.scan_iter("rq:job:*")))
    until("none is taken", lambda: farm.redis.llen(keys.taken("cpu")) == 0)


def test_evicts_oldest_sessions_beyond_limit(small: Farm) -> None:
    farm = small
    names = [user() for _ in range(4)]
    for name in names:
        farm.post(conversation(ran(rows(name))), name)

    def kept() -> list[list[str]]:
        parts = (keys.cache, keys.ages, keys.session)
        return [[n for n in names if farm.redis.exists(part(keys.user_tag(n)))] for part in parts]

    until("the last two are left", lambda: kept() == [names[-2:]] * 3)


@contextmanager
def paused(farm: Farm, worker: Process) -> Iterator[None]:
    """Stop the cpu worker while it counts as alive, and continue it at the end in any case."""
    beats = {"cpu-the-test-1-1": time.time() + 600}
    farm.redis.zadd(keys.workers("cpu"), beats)
    worker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.signal(signal.SIGCONT)
        farm.redis.zrem(keys.workers("cpu"), *beats)


def test_block_in_flight_is_compressed_once(farm: Farm) -> None:
    name = user()
    body = conversation(ran(rows(name)))
    until("no job is left of before", lambda: not list(farm.redis.scan_iter("rq:job:*")))
    worker = next(p for p in farm.parts if "worker-cpu" in p.log.name)
    with ThreadPoolExecutor(7) as pool, paused(farm, worker):
        futures = [pool.submit(farm.post, body, name) for _ in range(6)]
        claims = f"farm:{{u:{keys.user_tag(name)}}}:claim:*"
        until("it is claimed once", lambda: sum(1 for _ in farm.redis.scan_iter(claims)) == 1)
        other = pool.submit(farm.post, body, user())
        until(
            "the other user's job is queued too",
            lambda: sum(1 for _ in farm.redis.scan_iter("rq:job:*")) == 2,
        )
        worker.signal(signal.SIGCONT)
        answers = [f.result() for f in [*futures, other]]
    assert all(a.json["tokens_saved"] > 0 for a in answers)
    assert all(a.json["degraded"] == [] for a in answers)
