"""Single flight: one front end requests a block, others wait for it, and take over if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from api.pipeline import dispatch_jobs
from deploy.ports import free_port
from shared import keys
from shared.jobs import Block, Form, unpack_form
from shared.settings import Settings

from ..dispatching import Bench, Make, blocks, front_end, play, tag, until
from ..farm import until as until_here
from ..valkeys import Valkey, cluster_of, running

DONE = Form("done", outcome="compressed")
MOST_MS = 2000
"""Milliseconds for which a claim may hold others up once its owner is gone."""
FULL = {"blocks": 1 << 30, "bytes": 1 << 40}
"""The load of a full pool."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Valkey, Valkey]]:
    """A server without workers or other front ends, and a Cluster of one node."""
    alone = Valkey(tmp_path_factory.mktemp("claims"))
    node = Valkey(tmp_path_factory.mktemp("state"), cluster_enabled="yes", cluster_port=free_port())
    with running(alone, node):
        cluster_of([node.client()], node)
        until_here("the Cluster is whole", lambda: node.client().set("k", "v"))
        yield alone, node


@pytest.fixture(params=["one server", "state in a Cluster"])
def settings(
    request: pytest.FixtureRequest, servers: tuple[Valkey, Valkey], tmp_path: Path
) -> Settings:
    """A farm's settings on those servers, emptied."""
    alone, node = servers
    for server in servers:
        server.client().flushall()
    place = {"redis_url": f"redis://127.0.0.1:{alone.port}/0", "data_dir": tmp_path}
    if request.param != "one server":
        place["state_url"] = f"redis+cluster://127.0.0.1:{node.port}"
    return Settings(**place)  # type: ignore[arg-type]


def _rises(read: Callable[[], int]) -> Callable[[], bool]:
    """Return a function that says whether the value has increased since the last call."""
    values = [read()]

    def look() -> bool:
        values.append(read())
        return values[-1] > values[-2]

    return look


def _held(event: asyncio.Event) -> Make:
    async def make(names: list[str]) -> list[Block]:
        await event.wait()
        return await blocks(names)

    return make


@pytest.fixture
def no_lapse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable claiming again after a claim expires: without a notification, waiting is in vain."""
    monkeypatch.setattr(dispatch_jobs, "_LAPSE_SECONDS", 3600.0)


@pytest.mark.usefixtures("no_lapse")
def test_tells_second_local_waiter_when_first_is_refused(settings: Settings) -> None:
    async def scene() -> None:
        user, go, bench = tag(), asyncio.Event(), Bench(settings)
        async with front_end(settings) as front:
            first = asyncio.create_task(front.fetch(user, "k", make=_held(go)))
            await until("the first claims", lambda: front.made)
            second = asyncio.create_task(front.fetch(user, "k"))
            await until("the second waits", lambda: len(front.made) == 2)
            bench.redis.hset(keys.load("cpu"), mapping=FULL)
            go.set()
            assert (await first).reasons == {"overload"}
            assert (await second).reasons == {"overload"}

    play(scene())


def test_takes_over_claim_of_dead_front_end(settings: Settings) -> None:
    async def scene() -> None:
        user, bench = tag(), Bench(settings)
        async with front_end(settings, alive=False) as dead, front_end(settings) as front:
            never = asyncio.create_task(dead.fetch(user, "k", make=_held(asyncio.Event())))
            await until("it claims", lambda: dead.made)
            waits = asyncio.create_task(front.fetch(user, "k"))
            work = asyncio.create_task(bench.work())
            assert (await waits).forms == {"k": DONE}
            assert await work == ["k"]
            never.cancel()

    play(scene())


def test_takes_over_claim_its_owner_never_learned_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis ran the claim's script, but its answer was lost."""

    async def scene() -> None:
        user, bench = tag(), Bench(settings)
        async with front_end(settings) as unlucky, front_end(settings) as front:
            claiming = unlucky.dispatcher._claims._claiming
            claim = claiming.claim

            async def lost(*given: Any) -> Any:
                await claim(*given)
                raise ConnectionError

            monkeypatch.setattr(claiming, "claim", lost)
            assert (await unlucky.fetch(user, "k")).reasons == {"redis"}
            assert bench.state.exists(keys.claim(user, "k"))
            waits = asyncio.create_task(front.fetch(user, "k"))
            assert await bench.work() == ["k"]
            assert (await waits).forms == {"k": DONE}
            assert front.made[-1] == ["k"]

    play(scene())


def test_recomputes_cached_form_of_another_version(settings: Settings) -> None:
    async def scene() -> None:
        user, bench = tag(), Bench(settings)
        bench.state.hset(keys.cache(user), "k", b"\x93of another version")
        async with front_end(settings) as front:
            waits = asyncio.create_task(front.fetch(user, "k"))
            work = asyncio.create_task(bench.work())
            assert (await waits).forms == {"k": DONE}
            await work
        packed = bench.state.hget(keys.cache(user), "k")
        assert isinstance(packed, bytes)
        assert unpack_form(packed).text == "done"

    play(scene())


@pytest.mark.usefixtures("no_lapse")
def test_tells_waiter_elsewhere_when_owner_is_refused(settings: Settings) -> None:
    async def scene() -> None:
        user, go, bench = tag(), asyncio.Event(), Bench(settings)
        async with front_end(settings) as front, front_end(settings) as other:
            first = asyncio.create_task(front.fetch(user, "k", make=_held(go)))
            await until("the first claims", lambda: front.made)
            second = asyncio.create_task(other.fetch(user, "k"))
            await until("the second waits", lambda: other.made)
            bench.redis.hset(keys.load("cpu"), mapping=FULL)
            go.set()
            assert (await first).reasons == (await second).reasons == {"overload"}
            assert other.made == [[], ["k"]]  # it tried by itself, once

    play(scene())


def test_claim_outlives_its_lease_while_owner_lives(settings: Settings) -> None:
    async def scene() -> None:
        user, go, bench = tag(), asyncio.Event(), Bench(settings)
        async with front_end(settings) as front, front_end(settings) as other:
            first = asyncio.create_task(front.fetch(user, "k", make=_held(go)))
            await until("the first claims", lambda: front.made)
            second = asyncio.create_task(other.fetch(user, "k"))
            await until("the second waits", lambda: other.made)
            held = keys.claim(user, "k")
            for _ in range(5):  # a quarter of a lease each
                await until("prolonged", _rises(lambda: bench.state.pttl(held)))
            go.set()
            assert await bench.work() == ["k"]
            assert (await first).forms == (await second).forms == {"k": DONE}
            assert other.made == [[]]
            assert not bench.state.exists(held)

    play(scene())


def test_enqueues_again_when_its_job_is_lost(settings: Settings) -> None:
    async def scene() -> None:
        user, bench = tag(), Bench(settings)
        async with front_end(settings) as front:
            first = asyncio.create_task(front.fetch(user, "k"))
            await until("it is enqueued", lambda: bench.redis.llen(keys.queue("cpu")))
            bench.redis.flushall()  # as if Redis had restarted without data
            assert await bench.work() == ["k"]
            assert (await first).forms == {"k": DONE}

    play(scene())


def test_keeps_claim_while_its_job_waits(settings: Settings) -> None:
    async def scene() -> None:
        user, bench = tag(), Bench(settings)
        async with front_end(settings) as front, front_end(settings) as other:
            late = asyncio.create_task(front.fetch(user, "k"))
            await until("it is enqueued", lambda: bench.redis.llen(keys.queue("cpu")))
            held = keys.claim(user, "k")
            # Canceled before it knows that its job is enqueued, it would give the claim up.
            await until("prolonged", _rises(lambda: bench.state.pttl(held)))
            late.cancel()
            await until("prolonged again", _rises(lambda: bench.state.pttl(held)))
            second = asyncio.create_task(other.fetch(user, "k"))
            await until("the second waits", lambda: other.made)
            assert await bench.work() == ["k"]
            assert (await second).forms == {"k": DONE}
            assert other.made == [[]]

    play(scene())


def test_every_key_of_the_protocol_expires(settings: Settings) -> None:
    async def scene() -> None:
        user, bench = tag(), Bench(settings)
        async with front_end(settings) as front:
            first = asyncio.create_task(front.fetch(user, "k", "l"))
            await until("it is enqueued", lambda: bench.redis.llen(keys.queue("cpu")))
            assert 0 < bench.state.pttl(keys.claim(user, "k")) <= MOST_MS
            await bench.work()
            await first
        for key in bench.state.scan_iter(f"farm:{{u:{user}}}*"):
            assert bench.state.ttl(key) > 0, key

    play(scene())
