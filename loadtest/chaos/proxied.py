"""The faults of the proxy: providers, clients and parts of the farm fail while streams are open.

Half of the streams' requests have tool output that the farm compresses, the others a greeting.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psutil

from shared.settings import POOLS

from .scenarios import Play, Scenario
from .site import hurt
from .streams import Provider, Streams

_CLIENTS = 2
"""Clients of /v1/compress beside the streams."""
_IDLE_SECONDS = 2
_LONG = "text 60 100"
_PAUSE = 0.05
_SLOW_PAUSE = 0.2
"""Between looks at processes, which take processor time from the streams."""
_ROLL_SECONDS = 180
_AT_ONCE = 8


def _of(play: Play) -> tuple[Streams, Provider]:
    """Return the streams and the provider, which a scenario of the proxy has."""
    if play.streams is None or play.provider is None:
        raise TypeError("this is no scenario of the proxy")
    return play.streams, play.provider


def plays(*names: str, at_once: int = 8) -> Callable[[Play], Awaitable[None]]:
    """Return: the provider plays these, for each request one by chance."""

    async def fault(play: Play) -> None:
        await _of(play)[0].play(names, play.seconds, at_once)

    return fault


async def gone(play: Play) -> None:
    """No provider listens for a time; when one is back, everything passes again."""
    streams, provider = _of(play)
    await streams.play(["text 20 20"], play.seconds / 4)
    await provider.close()
    end = time.monotonic() + play.seconds / 2
    while time.monotonic() < end:
        await streams.ask("text", must="gone")
        await asyncio.sleep(_PAUSE)
    await provider.open()
    await streams.play(["text 20 20"], play.seconds / 4)


async def clients_leave(play: Play) -> None:
    """Clients go away before the head, in mid-stream, and while nothing comes."""
    streams, _ = _of(play)
    end = time.monotonic() + play.seconds

    async def one() -> None:
        while time.monotonic() < end:
            what = play.rng.choice(("text 400 20", "stall", "silent", "huge 8"))
            await streams.leave(what, after=play.rng.uniform(0.0, 0.6))

    await asyncio.gather(*[one() for _ in range(_AT_ONCE)])


async def front_ends_drain(play: Play) -> None:
    """Front ends and workers are replaced (SIGHUP to `up`) while streams of 6 s are open."""
    streams, _ = _of(play)
    async with _streaming(streams, [_LONG], play):
        await asyncio.sleep(1)
        old = play.site.pids()
        play.site.roll()
        give_up = time.monotonic() + _ROLL_SECONDS
        while await asyncio.to_thread(play.site.pids) & old:
            if time.monotonic() > give_up:
                play.broken.append(f"not all parts replaced within {_ROLL_SECONDS} s")
                break
            await asyncio.sleep(_SLOW_PAUSE)


async def redis_hangs(play: Play) -> None:
    """Redis is stopped: each request goes on as it came, by its deadline."""
    streams, _ = _of(play)
    redis = play.site.valkey()
    hurt(redis, signal.SIGSTOP)
    await _untouched(streams, play.seconds / 2)
    hurt(redis, signal.SIGCONT)


async def redis_away(play: Play) -> None:
    """Redis is killed -9 whenever it is there."""
    streams, _ = _of(play)
    killing = asyncio.create_task(_kill_always(play.site.valkey))
    try:
        await streams.play(["text 20 10"], play.seconds)
    finally:
        killing.cancel()


async def workers_away(play: Play) -> None:
    """Neither pool has a worker: each request goes on as it came, at once."""
    streams, _ = _of(play)

    def workers() -> list[psutil.Process]:
        return [one for pool in POOLS for one in play.site.workers(pool)]

    killing = asyncio.create_task(_kill_always(workers))
    try:
        await asyncio.sleep(play.seconds / 12)
        await _untouched(streams, play.seconds)
    finally:
        killing.cancel()


async def _kill_always(found: Callable[[], list[psutil.Process]]) -> None:
    while True:
        hurt(await asyncio.to_thread(found), signal.SIGKILL)
        await asyncio.sleep(_SLOW_PAUSE)


async def _untouched(streams: Streams, seconds: float) -> None:
    end = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < end:
            await streams.ask("text 20 10", unchanged=True)
            await asyncio.sleep(streams.rng.uniform(0, 0.1))

    await asyncio.gather(*[one() for _ in range(_AT_ONCE)])


@contextlib.asynccontextmanager
async def _streaming(streams: Streams, names: list[str], play: Play) -> AsyncIterator[None]:
    """Keep streams open meanwhile."""
    over = False

    async def one() -> None:
        while not over:
            await streams.ask(play.rng.choice(names))

    tasks = [asyncio.create_task(one()) for _ in range(_AT_ONCE)]
    try:
        yield
    finally:
        over = True
        await asyncio.gather(*tasks)


def _scenario(name: str, fault: Callable[[Play], Awaitable[None]], **more: Any) -> Scenario:
    return Scenario(name, fault, clients=_CLIENTS, proxied=True, **more)


PROXIED = (
    _scenario(
        "provider slow or silent",
        plays("late 1000", "text 20 100", "silent", "stall"),
        settings={"upstream_idle_seconds": _IDLE_SECONDS},
    ),
    _scenario("provider gone", gone),
    _scenario(
        "429, 500 and 529, or an error in mid-stream",
        plays("refuse 429", "refuse 500", "refuse 529", "broken"),
    ),
    _scenario("streams cut, or half an event", plays("cut", "half")),
    _scenario("garbage instead of an answer or of events", plays("noise", "noise-events")),
    _scenario("huge streams", plays("huge 8", at_once=2)),
    _scenario("clients gone in mid-stream", clients_leave),
    _scenario("rolling restart, streams open", front_ends_drain),
    _scenario("streams while Redis hangs", redis_hangs, again=True),
    _scenario("streams while Redis is away", redis_away, again=True),
    _scenario("streams while workers are away", workers_away, again=True),
)
