"""Users invented by one tenant take nothing from other tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from api.http.request import PLAYGROUND
from api.pipeline.dispatch_jobs import Order, Origin
from api.runtime.redis_guard import RedisGuard
from api.runtime.user_store import SessionActivity, UserStore
from shared import keys
from shared.deadline import Deadline
from shared.jobs import Options
from shared.redis_connection import connect_async
from shared.settings import Settings

from ..dispatching import SECONDS, blocks, front_end, play, tag, until
from ..farm import Farm


def test_invented_users_evict_only_own_tenants_sessions(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    farm.start_redis()
    settings = Settings(  # type: ignore[call-arg, unused-ignore]
        redis_url=farm.environment["HEADROOM_REDIS_URL"], max_user_sessions=5
    )
    others = ["alice", "team/bob", "team/carol"]

    async def visit(*names: str) -> None:
        guard = RedisGuard(connect_async(settings), settings)
        users = UserStore(settings, guard, guard)
        for name in names:
            tag = keys.user_tag(name)
            farm.redis.hset(keys.cache(tag), "k", "form")
            await users.note({name: SessionActivity(tag)}, Deadline.after(60))
            await users.touch({name: tag}, Deadline.after(60))
        await guard.stop()

    asyncio.run(visit(*others, *[f"flood/{n}" for n in range(20)]))
    for name in others:
        assert farm.redis.exists(keys.cache(keys.user_tag(name))), name
    assert farm.redis.zcard(keys.SESSIONS) <= 5
    assert not farm.redis.exists(keys.cache(keys.user_tag("flood/3")))
    assert farm.redis.exists(keys.cache(keys.user_tag("flood/19")))  # the latest stays


def test_job_counts_for_the_tenant_of_its_user(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    farm.start_redis()
    settings = Settings(redis_url=farm.redis_url)  # type: ignore[call-arg, unused-ignore]

    async def scene() -> None:
        user, tenant = tag(), tag()
        order = Order(user, Options(), "", Origin("r", tenant=tenant))
        async with front_end(settings) as front:
            asked = front.dispatcher.fetch(order, {"k": "cpu"}, blocks, Deadline.after(SECONDS))
            waits = asyncio.create_task(asked)
            await until("it is enqueued", lambda: farm.redis.llen(keys.queue("cpu")))
            load = farm.redis.hgetall(keys.load("cpu"))
            assert load[f"blocks:{user}".encode()] == b"1"
            assert load.get(f"tenant_blocks:{tenant}".encode()) == b"1"
            waits.cancel()

    play(scene())


@pytest.mark.parametrize(
    ("name", "tenant"),
    [
        ("team/bob", "team"),
        ("team", "team"),
        ("alice", "alice"),
        ("/a/b", "/a/b"),  # named by a trusted service
        (f"{PLAYGROUND}\tpage\tteam/bob", "team"),
        (f"{PLAYGROUND}\tother\talice", "alice"),
    ],
)
def test_user_name_contains_its_tenant(name: str, tenant: str) -> None:
    assert keys.tenant_of(name) == tenant
