"""The guard around a Redis: what opens its breaker, and that it closes again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import MaxConnectionsError, ReadOnlyError

from api.runtime import redis_guard
from api.runtime.redis_guard import RedisGuard
from shared.deadline import Deadline
from shared.errors import Degraded
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


@pytest.mark.parametrize(
    ("deadline", "timeout", "serves"), [(0.001, 60.0, True), (60.0, 0.001, False)]
)
def test_command_ends_in_time_and_only_redis_own_delay_opens_the_breaker(
    deadline: float, timeout: float, serves: bool
) -> None:
    async def play() -> None:
        guard = RedisGuard(Client(True), Settings(redis_timeout=timeout))
        with pytest.raises(Degraded):
            await guard.ask(asyncio.sleep(3600), Deadline.after(deadline))
        assert guard.serves is serves

    asyncio.run(asyncio.wait_for(play(), 30))


def test_read_only_server_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[Any] = []

    async def renew(client: Any) -> None:
        renewed.append(client)

    async def fails(error: Exception) -> None:
        raise error

    monkeypatch.setattr(redis_guard, "renew_async", renew)

    async def play() -> None:
        for error, client in ((ConnectionError(), Client(True)), (ReadOnlyError(), Client(True))):
            guard = RedisGuard(client, Settings())
            with pytest.raises(Degraded):
                await guard.ask(fails(error), Deadline.after(60))
            assert renewed == ([client] if isinstance(error, ReadOnlyError) else [])

    asyncio.run(play())
