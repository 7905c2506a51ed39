"""The faults, one function each: what is done to a farm under load, and for how long.

A scenario gets the farm, the load and a seeded random choice, and returns when its last fault is
over; from then on the seconds to full health are counted.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from shared import keys

from .load import Load, Turn, turn_of
from .site import Site, hurt
from .streams import Provider, Streams

_PAUSE = 0.05
_AGAIN_SECONDS = 3.0
"""Within this time of its worker's death a job is started again."""


@dataclass
class Play:
    """What a scenario plays with. `notes` and `broken` go into its row.

    `provider` and `streams` are there in a scenario of the proxy.
    """

    site: Site
    load: Load
    seconds: float
    rng: random.Random
    notes: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    provider: Provider | None = None
    streams: Streams | None = None

    async def until(self, what: str, condition: Callable[[], Any], seconds: float = 30.0) -> bool:
        """Wait for a condition; say it was broken where it does not come."""
        give_up = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > give_up:
                self.broken.append(f"not within {seconds:.0f} s: {what}")
                return False
            await asyncio.sleep(_PAUSE)
        return True


@dataclass(frozen=True)
class Scenario:
    """A fault and what is asked of a farm that meets it.

    `retry`: clients may be cut off and send again. `again`: jobs may be run twice, since their
    workers are killed, or Redis is away when leases are to be renewed. `settings` are the farm's.
    `clients` of `/v1/compress` run beside it, all if None. `proxied`: the farm stands before a
    stand-in provider, and the scenario has clients of the proxy.
    """

    name: str
    fault: Callable[[Play], Awaitable[None]]
    retry: bool = False
    again: bool = False
    health_seconds: float = 20.0
    settings: dict[str, Any] = field(default_factory=dict)
    cpu: int = 2
    gpu: int = 1
    clients: int | None = None
    proxied: bool = False


async def quiet(play: Play) -> None:
    """Nothing happens: what the others are compared with."""
    await asyncio.sleep(play.seconds)


def kill_workers_of(pool: str) -> Callable[[Play], Awaitable[None]]:
    """Return: one worker of a pool after the other is killed -9."""

    async def fault(play: Play) -> None:
        end = time.monotonic() + play.seconds
        kills = 0
        while time.monotonic() < end:
            await asyncio.sleep(play.rng.uniform(0.3, 1.5))
            alive = play.site.workers(pool)
            if alive:
                hurt([play.rng.choice(alive)], signal.SIGKILL)
                kills += 1
        play.notes["kills"] = kills

    return fault


async def kill_a_pool(play: Play) -> None:
    """Every worker of the cpu pool is killed -9 at once."""
    await asyncio.sleep(play.seconds / 4)
    hurt(play.site.workers("cpu"), signal.SIGKILL)
    await asyncio.sleep(play.seconds / 4)


async def pool_at_zero(play: Play) -> None:
    """The gpu pool has no worker for a time: each new one is killed -9."""
    end = time.monotonic() + play.seconds
    while time.monotonic() < end:
        hurt(play.site.workers("gpu"), signal.SIGKILL)
        await asyncio.sleep(_PAUSE)


async def between_pop_and_start(play: Play) -> None:
    """A worker is killed when Redis has given it a job it has not read.

    It is stopped while it waits: Redis serves the waiting pop, and the answer is not read.
    """
    pool = "cpu"
    rescued = []
    async with play.site.redis() as client:
        for _ in range(max(1, round(play.seconds / 5))):
            victim = play.rng.choice(play.site.workers(pool))
            hurt([victim], signal.SIGSTOP)
            taken = await _stuck(client, pool)
            hurt([victim], signal.SIGKILL)
            start = time.monotonic()
            if not taken:
                continue
            for job in taken:
                await _started_again(client, job)
            rescued.append(time.monotonic() - start)
            await play.until("the worker is back", lambda: len(play.site.workers(pool)) == 2)
    play.notes["popped, never started"] = len(rescued)
    play.notes["seconds until started by another"] = round(max(rescued, default=0.0), 2)
    if not rescued:
        play.broken.append("no job was caught between pop and start: nothing was shown")
    elif max(rescued) > _AGAIN_SECONDS:
        play.broken.append(f"a job waited {max(rescued):.1f} s for another worker")


async def _started_again(client: Any, job: str) -> None:
    """Return when another worker has begun a job, or is through with it."""
    for _ in range(200):
        again, status = await client.hmget(keys.job(job), "again", "status")
        if status is None or (again and status == b"started"):
            return
        await asyncio.sleep(_PAUSE)


async def _stuck(client: Any, pool: str) -> list[str]:
    """Return the ids that stay in the intermediate list, because no worker has them."""
    give_up = time.monotonic() + 3
    while time.monotonic() < give_up:
        first = set(await client.lrange(keys.taken(pool), 0, -1))
        await asyncio.sleep(0.4)
        if stay := first & set(await client.lrange(keys.taken(pool), 0, -1)):
            return [one.decode() for one in stay]
    return []


async def kill_front_ends(play: Play) -> None:
    """One front-end process after the other is killed -9; their master makes another."""
    end = time.monotonic() + play.seconds
    while time.monotonic() < end:
        await asyncio.sleep(play.rng.uniform(0.8, 2.0))
        alive = play.site.front_ends()
        if alive:
            hurt([play.rng.choice(alive)], signal.SIGKILL)


async def kill_front_end_master(play: Play) -> None:
    """The front end's master and its processes are killed -9 together."""
    await asyncio.sleep(play.seconds / 4)
    hurt([*play.site.master(), *play.site.front_ends()], signal.SIGKILL)
    await asyncio.sleep(play.seconds / 4)


def redis_gets(number: int) -> Callable[[Play], Awaitable[None]]:
    """Return: Redis gets a signal it ends by, and is started again from its file."""

    async def fault(play: Play) -> None:
        await asyncio.sleep(play.seconds / 4)
        for _ in range(2):
            old = play.site.valkey()
            hurt(old, number)
            await play.until("another Redis", lambda old=old: _another(play, old))  # type: ignore[misc]
            await asyncio.sleep(play.seconds / 8)

    return fault


def _another(play: Play, old: list[psutil.Process]) -> bool:
    now = play.site.valkey()
    return bool(now) and {p.pid for p in now}.isdisjoint(p.pid for p in old)


async def pause_redis(play: Play) -> None:
    """Redis is paused with SIGSTOP for five seconds."""
    await asyncio.sleep(play.seconds / 4)
    redis = play.site.valkey()
    hurt(redis, signal.SIGSTOP)
    await asyncio.sleep(5)
    hurt(redis, signal.SIGCONT)


async def overload(play: Play) -> None:
    """Four times what the farm can do comes, whether answered or not, and then stops."""
    load = play.load
    before = sum(one.status == 200 for one in load.exchanges)
    await asyncio.sleep(play.seconds / 2)
    capacity = (sum(one.status == 200 for one in load.exchanges) - before) / (play.seconds / 2)
    flood = await load.flood(4 * capacity, play.seconds)
    whole = [one for one in flood if b'"degraded":[]' in one.body]
    play.notes |= {
        "requests a second in closed loop": round(capacity, 1),
        "flood requests": len(flood),
        "flood answered whole": len(whole),
    }


async def poison(play: Play) -> None:
    """Whichever worker holds one certain job is killed -9, twice; then it must pass verbatim."""
    async with play.site.redis() as client, play.load.client(8.0) as http:
        slow = _slow_turn(play.rng)
        asked = Load(play.load.url, [], deadline=8.0)
        first = asyncio.create_task(asked.ask(slow, "poisoner", http))
        for start in range(2):
            if not await _kill_holder(play, client, "poisoner", start):
                break
        play.load.exchanges.append(await first)
        exchange = first.result()
        if b'"degraded":[]' in exchange.body:
            play.broken.append("a block that killed two workers was compressed")
        asked.deadline = play.load.deadline
        later = await asked.ask(slow, "poisoner", http)
        play.load.exchanges.append(later)
        play.notes["ms of the next request with it"] = round(later.seconds * 1000)
        await asyncio.sleep(1)
    counted = await play.site.counters()
    play.notes["blocks quarantined"] = counted.get("blocks:quarantined", 0)
    if counted.get("blocks:quarantined", 0) != 1:
        play.broken.append(f"{play.notes['blocks quarantined']} blocks quarantined, not 1")


async def _kill_holder(play: Play, client: Any, user: str, start: int) -> bool:
    """Kill the one cpu worker once it works on a job of `user`, begun `start` times before."""
    tag = keys.user_tag(user).encode()
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        for job in await client.lrange(keys.taken("cpu"), 0, -1):
            data, status, again, block = await client.hmget(
                keys.job(job.decode()), "data", "status", "again", "current"
            )
            begun = status == b"started" and int(again or 0) == start
            # From the second start on a worker says which block it is at, a moment after it began.
            if data and tag in data and begun and (block or not start):
                hurt(play.site.workers("cpu"), signal.SIGKILL)
                await play.until("a new worker", lambda: play.site.workers("cpu"))
                return True
        await asyncio.sleep(0.005)
    play.broken.append("the job was not started again: it could not be killed twice")
    return False


def _slow_turn(rng: random.Random) -> Turn:
    """Return a request whose one block keeps an engine busy long enough to be caught at it."""
    name = f"{rng.getrandbits(64):x}"
    rows = (
        f"2026-01-01 {i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d} "
        f"{rng.choice(('INFO', 'WARN', 'ERROR'))} {name} {rng.getrandbits(80):x} took {i} ms"
        for i in range(20_000)
    )
    call = {"type": "tool_use", "id": "toolu_slow", "name": "Bash", "input": {"command": "make"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_slow", "content": "\n".join(rows)}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "what did it print"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    return turn_of("slow", 0, messages)


async def rolling_restart(play: Play) -> None:
    """Front ends and both pools are replaced one by one (SIGHUP to `up`)."""
    await asyncio.sleep(play.seconds / 4)
    old = play.site.pids()
    start = time.monotonic()
    play.site.roll()
    await play.until("all parts replaced", lambda: not play.site.pids() & old, 90)
    play.notes["seconds of the restart"] = round(time.monotonic() - start, 1)


async def kill_everything(play: Play) -> None:
    """Supervisor, front ends, workers and Redis are killed -9 at once, and started again."""
    await asyncio.sleep(play.seconds / 4)
    play.site.kill()
    await play.site.start()


SCENARIOS = (
    Scenario("nothing", quiet),
    Scenario("cpu workers killed -9, one by one", kill_workers_of("cpu"), again=True),
    Scenario("gpu workers killed -9, one by one", kill_workers_of("gpu"), again=True, gpu=2),
    Scenario("all cpu workers killed -9 at once", kill_a_pool, again=True),
    Scenario("killed between pop and start", between_pop_and_start, again=True),
    Scenario("a job that kills its worker twice", poison, again=True, cpu=1),
    Scenario("front-end processes killed -9", kill_front_ends, retry=True),
    Scenario("front end and master killed -9", kill_front_end_master, retry=True),
    Scenario("Redis killed -9", redis_gets(signal.SIGKILL), again=True),
    Scenario("Redis restarted", redis_gets(signal.SIGTERM), again=True),
    Scenario("Redis paused for 5 s", pause_redis, again=True),
    Scenario("gpu pool at 0", pool_at_zero, again=True),
    Scenario("4 times the load", overload, health_seconds=3.0),
    Scenario("rolling restart", rolling_restart),
    Scenario("everything killed -9", kill_everything, retry=True, again=True),
)
