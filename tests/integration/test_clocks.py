"""No result depends on the clocks of machines, which differ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api.runtime.redis_guard import RedisGuard
from api.runtime.session_stats import SessionStats
from api.runtime.user_store import UserStore
from deploy.check import check_worker
from shared import keys
from shared.redis_connection import connect_async
from shared.settings import Settings

from ..farm import Farm, until, user
from ..texts import conversation, ran, rows

HOUR = 3600.0
SOURCES = Path(__file__).parents[2]


def _off_by(seconds: float) -> str:
    """Return Python code that sets a process's wall clock wrong."""
    return f"import time\nright = time.time\ntime.time = lambda: right() + {seconds}"


@pytest.mark.parametrize("wrong", [-HOUR, HOUR], ids=["behind", "ahead"])
def test_sees_worker_whose_clock_is_wrong(own_farm: Callable[..., Farm], wrong: float) -> None:
    farm = own_farm()
    farm.start_redis()
    farm.start_worker("cpu", _off_by(wrong))
    until("it says that it lives", lambda: farm.redis.exists(keys.workers("cpu")))
    farm.start_api()
    until("it is seen", lambda: farm.get("/readyz").json["checks"]["cpu_workers"] == 1)
    answer = farm.post(conversation(ran(rows(user()))), user()).json
    assert answer["degraded"] == []
    settings = Settings(redis_url=farm.environment["HEADROOM_REDIS_URL"])  # type: ignore[call-arg, unused-ignore]
    assert "lives" in check_worker(settings, strict=True)
    assert farm.get("/stats/farm").json["pools"]["cpu"]["workers"] == 1
    farm.parts[1].kill()
    until("it is missed", lambda: farm.get("/readyz").json["checks"]["cpu_workers"] == 0)


def test_session_survives_front_end_with_wrong_clock(
    own_farm: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = own_farm()
    farm.start_redis()
    settings = Settings(redis_url=farm.environment["HEADROOM_REDIS_URL"])  # type: ignore[call-arg, unused-ignore]

    async def note(name: str) -> None:
        guard = RedisGuard(connect_async(settings), settings)
        stats = SessionStats(settings, UserStore(settings, guard, guard))
        stats.note(name, 1, 0, 0)
        await stats.stop()  # it writes what is left
        await guard.stop()

    asyncio.run(note("right"))
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 500 * 24 * HOUR)
    asyncio.run(note("ahead"))
    assert farm.redis.zrange(keys.SESSIONS, 0, -1) == [b"right", b"ahead"]
