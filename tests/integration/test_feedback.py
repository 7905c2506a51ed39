"""An engine is paused for a tool whose outputs are retrieved too often, on every front end."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from api.runtime import retrieval_feedback as module
from api.runtime.redis_guard import RedisGuard
from api.runtime.retrieval_feedback import Feedback
from shared import keys
from shared.redis_connection import connect_async
from shared.settings import Settings

from ..farm import Farm, post, until
from ..texts import conversation, events, ran


class Counting:
    """New front ends on the farm's Redis, one after another."""

    def __init__(self, farm: Farm, **settings: Any) -> None:
        given = {"feedback_rate": 0.5, "feedback_sample": 10, "feedback_pause_seconds": 600}
        self.settings = Settings(redis_url=farm.redis_url, **{**given, **settings})

    def count(self, *notes: tuple[str, str, str, int, int]) -> Feedback:
        """Count (user, engine, tool, shortened, asked back) in a new front end; return it."""

        async def go() -> Feedback:
            guard = RedisGuard(connect_async(self.settings), self.settings)
            feedback = Feedback(self.settings, guard)
            for user, engine, tool, shortened, back in notes:
                for _ in range(shortened):
                    feedback.shortened(user, engine, tool)
                for _ in range(back):
                    feedback.asked_back(user, engine, tool)
            await feedback.settle()
            await guard.stop()
            return feedback

        return asyncio.run(go())


@pytest.fixture
def tenant() -> str:
    """A unique tenant."""
    return secrets.token_hex(6)


def test_engine_asked_back_too_often_pauses_for_tool(farm: Farm, tenant: str) -> None:
    counting = Counting(farm)
    user = f"{tenant}/ada"
    assert counting.count((user, "log", "Bash", 9, 9)).paused(user) == ()  # too few
    assert counting.count((user, "log", "Bash", 20, 0)).paused(user) == ()  # below the rate
    told = counting.count((user, "log", "Bash", 0, 12), (user, "search", "Bash", 30, 3))
    assert told.paused(user) == (("log", "Bash"),)
    assert counting.count().paused(f"{tenant}/bob") == (("log", "Bash"),)  # of all its users
    assert counting.count().paused("other/bob") == ()
    (pause,) = [one for one in counting.count().pauses if one.scope == tenant]
    assert pause.until - pause.since == 600
    assert (pause.shortened, pause.asked_back) == (pytest.approx(29, 0.01), pytest.approx(21, 0.01))


def test_asked_back_counts_before_shortened_is_written(farm: Farm, tenant: str) -> None:
    """Two front ends write in any order: the one that is asked, and the one that shortened."""
    counting = Counting(farm)
    user = f"{tenant}/ada"
    assert counting.count((user, "log", "Bash", 0, 9)).paused(user) == ()
    assert counting.count((user, "log", "Bash", 12, 0)).paused(user) == (("log", "Bash"),)


def test_pause_ends_and_counting_begins_anew(farm: Farm, tenant: str) -> None:
    counting = Counting(farm)
    user = f"{tenant}/ada"
    assert counting.count((user, "log", "Bash", 10, 10)).paused(user)
    name = f"{tenant}\x1flog\x1fBash"
    packed: Any = farm.redis.hget(keys.FEEDBACK_PAUSES, name)
    until_, *rest = msgspec.msgpack.decode(packed)
    ended = msgspec.msgpack.encode([until_ - 601, *rest])
    farm.redis.hset(keys.FEEDBACK_PAUSES, name, ended)
    assert counting.count().paused(user) == ()
    assert counting.count((user, "log", "Bash", 8, 8)).paused(user) == ()  # fewer than the sample
    assert not farm.redis.hexists(keys.FEEDBACK_PAUSES, name)  # swept


def test_old_counts_weigh_less(farm: Farm, tenant: str) -> None:
    counting = Counting(farm)
    user = f"{tenant}/ada"
    counting.count((user, "log", "Bash", 9, 9))
    key, pair = keys.feedback(keys.user_tag(tenant)), "log\x1fBash"
    packed: Any = farm.redis.hget(key, pair)
    shortened, back, at = msgspec.msgpack.decode(packed)
    days_ago = at - 10 * module.HALF_LIFE_SECONDS
    farm.redis.hset(key, pair, msgspec.msgpack.encode([shortened, back, days_ago]))
    assert counting.count((user, "log", "Bash", 5, 5)).paused(user) == ()
    assert 0 < farm.redis.ttl(key) <= 10 * module.HALF_LIFE_SECONDS


def test_rate_of_zero_pauses_nothing(farm: Farm, tenant: str) -> None:
    counting = Counting(farm, feedback_rate=0)
    user = f"{tenant}/ada"
    assert counting.count((user, "log", "Bash", 50, 50)).paused(user) == ()


def test_invented_tools_use_bounded_memory(
    farm: Farm, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_PAIRS", 5)
    counting = Counting(farm)
    notes = [(f"{tenant}/ada", "log", f"tool {n}\x1f{'x' * 500}", 20, 1) for n in range(30)]
    counting.count(*notes)
    found: Any = farm.redis.hgetall(keys.feedback(keys.user_tag(tenant)))
    assert len(found) == 5
    assert all(len(name) < 100 for name in found)


def test_unavailable_redis_raises_no_error(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    started = Counting(farm, redis_connect_timeout=0.2).count(("a/b", "log", "Bash", 50, 50))
    assert started.paused("a/b") == ()


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm of two front-end processes with low thresholds for pausing an engine."""
    farm = Farm(
        tmp_path_factory.mktemp("fed"),
        api_processes=2,
        feedback_rate=0.5,
        feedback_sample=3,  # less than four, because counts decay
    )
    try:
        yield farm.start()
    finally:
        farm.stop()


def test_retrieved_outputs_pause_engine_and_sent_blocks_stay(fed: Farm) -> None:
    """Blocks sent before or during a pause have the same bytes later, from either process."""
    name = "acme/ada"
    first = conversation(*[ran(events(f"e{i}"), f"c{i}") for i in range(4)])
    before = fed.post(first, name).json
    assert len(before["ccr_hashes"]) == 4
    for digest in before["ccr_hashes"]:
        answer = post(fed.url, {"hash": digest}, {"x-maas-username": name}, "/v1/retrieve")
        assert answer.status == 200

    def paused() -> Any:
        found = [fed.get("/stats/policy").json["feedback"]["paused"] for _ in range(8)]
        return found[0] if all(found) else None

    (pause,) = until("every process knows", paused)
    assert (pause["scope"], pause["tool"]) == ("acme", "Bash")
    assert 2 <= pause["asked_back"] <= pause["shortened"] == pytest.approx(4, 0.01)
    longer = {**first, "messages": [*first["messages"], *ran(events("new"), "n")]}
    answers = [fed.post(longer, name).json for _ in range(8)]  # of both processes
    for answer in answers:
        assert answer["messages"][: len(first["messages"])] == before["messages"]
        assert answer == answers[0]
    assert answers[0]["ccr_hashes"][:4] == before["ccr_hashes"]
    new = str(answers[0]["messages"][-1])
    assert "omitted in all" in str(before["messages"])
    assert "omitted in all" not in new, "the new output loses lines"
    fed.redis.delete(keys.cache(keys.user_tag(name)))  # lost state: the same decisions again
    again = {**longer, "messages": [*longer["messages"], *ran("short", "m")]}
    for _ in range(8):
        found = fed.post(again, name).json["messages"]
        assert found[: len(longer["messages"])] == answers[0]["messages"]
    other = conversation(ran(events("another"), "o"))
    shown = fed.post(other, "zeta/bob").json["transforms_applied"]
    assert pause["engine"] in str(shown)  # the pause does not apply to another tenant
    assert time.time() < pause["until"]
