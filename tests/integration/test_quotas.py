"""Quotas in Redis: of a tenant with all its users, and of each user."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.runtime.quotas import Quotas
from api.runtime.redis_guard import RedisGuard
from shared import keys
from shared.deadline import Deadline
from shared.policy.rules import Limits, Quota
from shared.redis_connection import connect_async
from shared.scripts import script
from shared.settings import Settings

from ..farm import Farm

Ask = Callable[..., int]
ANY = -1


@pytest.fixture
def tenant() -> str:
    """The tag of a unique tenant."""
    return keys.user_tag(secrets.token_hex(8))


@pytest.fixture
def ask(farm: Farm, tenant: str) -> Ask:
    """Return a function that requests admission as a front end does."""
    run = farm.redis.register_script(script("charge_quota"))

    def admitted(user: str, tokens: int, *limits: int) -> int:
        names = [keys.tenant_quota(tenant), keys.user_quota(tenant, user)]
        return int(run(keys=names, args=[tokens, *limits]))

    return admitted


def _earlier(farm: Farm, key: str, seconds: float) -> None:
    """Make the usage under ``key`` older by ``seconds``."""
    at = float(farm.redis.hget(key, "at") or 0)
    farm.redis.hset(key, "at", f"{at - seconds * 1000:.0f}")


def test_requests_beyond_users_quota_are_refused_uncounted(ask: Ask, farm: Farm) -> None:
    assert [ask("ada", 0, ANY, ANY, 3, ANY) for _ in range(6)] == [0, 0, 0, 2, 2, 2]
    assert ask("bob", 0, ANY, ANY, 3, ANY) == 0


def test_tenants_quota_holds_for_all_its_users(ask: Ask) -> None:
    asked = [ask(f"user-{n}", 10, ANY, 35, ANY, 100) for n in range(5)]
    assert asked == [0, 0, 0, 1, 1]


def test_refused_by_one_quota_charges_neither(ask: Ask, farm: Farm, tenant: str) -> None:
    assert ask("ada", 1, 10, ANY, 1, ANY) == 0
    before = farm.redis.hgetall(keys.tenant_quota(tenant))
    assert ask("ada", 1, 10, ANY, 1, ANY) == 2
    assert farm.redis.hgetall(keys.tenant_quota(tenant)) == before


def test_quota_drains_at_its_rate(ask: Ask, farm: Farm, tenant: str) -> None:
    key = keys.user_quota(tenant, "ada")
    assert [ask("ada", 50, ANY, ANY, ANY, 100) for _ in range(3)] == [0, 0, 2]
    _earlier(farm, key, 29)
    assert ask("ada", 50, ANY, ANY, ANY, 100) == 2
    _earlier(farm, key, 2)
    assert [ask("ada", 50, ANY, ANY, ANY, 100) for _ in range(2)] == [0, 2]


def test_request_over_quota_size_passes_full_bucket(ask: Ask, farm: Farm, tenant: str) -> None:
    assert ask("ada", 1000, ANY, ANY, ANY, 100) == 0
    assert ask("ada", 1, ANY, ANY, ANY, 100) == 2
    _earlier(farm, keys.user_quota(tenant, "ada"), 580)  # it drains for ten minutes
    assert ask("ada", 50, ANY, ANY, ANY, 100) == 0


def test_clock_set_back_does_not_refill_quota(ask: Ask, farm: Farm, tenant: str) -> None:
    assert ask("ada", 1, ANY, ANY, 1, ANY) == 0
    _earlier(farm, keys.user_quota(tenant, "ada"), -3600)
    assert ask("ada", 1, ANY, ANY, 1, ANY) == 2


def test_counts_expire_once_drained(ask: Ask, farm: Farm, tenant: str) -> None:
    ask("ada", 5, ANY, 1000, 10, ANY)
    for key in (keys.tenant_quota(tenant), keys.user_quota(tenant, "ada")):
        assert 0 < farm.redis.pttl(key) <= 61_000
    ask("bob", 10**12, ANY, 1, ANY, ANY)
    assert farm.redis.pttl(keys.tenant_quota(tenant)) <= 86_400_000
    assert not farm.redis.exists(keys.user_quota(tenant, "bob"))  # no quota, no key


def test_concurrent_requests_get_exactly_the_quota(ask: Ask) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(lambda n: ask(f"u{n % 4}", 1, 40, ANY, 15, ANY), range(80)))
    drained = (time.monotonic() - started) * 40 / 60
    assert 40 <= asked.count(0) <= 41 + drained
    assert set(asked) <= {0, 1, 2}


def _over(farm: Farm, quota: Quota, *names: str) -> list[str]:
    settings = Settings(redis_url=farm.redis_url)  # type: ignore[call-arg, unused-ignore]

    async def asked() -> list[str]:
        guard = RedisGuard(connect_async(settings), settings)
        quotas = Quotas(guard)
        found = [await quotas.over(name, quota, 1, Deadline.after(60)) for name in names]
        await guard.stop()
        return list(found)

    return asyncio.run(asked())


def test_user_name_determines_the_quota(farm: Farm) -> None:
    name = secrets.token_hex(8)
    quota = Quota(Limits(requests=2), Limits(requests=3))
    users = [f"{name}/a", f"{name}/a", f"{name}/a", f"{name}/b", f"{name}/b", f"{name}2/b"]
    assert _over(farm, quota, *users) == ["", "", "user", "", "tenant", ""]


def test_unavailable_redis_refuses_no_request(own_farm: Callable[..., Farm]) -> None:
    farm: Any = own_farm()
    assert _over(farm, Quota(Limits(requests=1)), "a", "a") == ["", ""]
