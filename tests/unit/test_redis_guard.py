"""The guard around a Redis: its breaker closes again whatever ended a probe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import MaxConnectionsError

from api.runtime.redis_guard import RedisGuard
from shared.settings import Settings


class Client:
    """A Redis whose answers to SET are given, the last one for ever."""

    def __init__(self, *answers: Exception | bool) -> None:
        self._answers = list(answers)

    async def set(self, *_: Any, **__: Any) -> bool:
        """Give the next answer."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    "error", [AttributeError("a connection that was just closed"), RuntimeError("closed")]
)
def test_breaker_closes_after_an_unexpected_error(error: Exception) -> None:
    settings = Settings(redis_retry_seconds=0.05)

    async def play() -> None:
        guard = RedisGuard(Client(ConnectionError(), error, True), settings)
        await guard.check()
        assert not guard.serves
        with pytest.raises(type(error)):
            await guard.check()
        while not guard.serves:
            await asyncio.sleep(0)
            await guard.check()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_probe_without_a_connection_opens_no_breaker() -> None:
    async def play() -> None:
        guard = RedisGuard(Client(MaxConnectionsError("too many"), ConnectionError()), Settings())
        await guard.check()
        assert guard.serves
        await guard.check()
        assert not guard.serves

    asyncio.run(asyncio.wait_for(play(), 60))
