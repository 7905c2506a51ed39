"""The measured pace of a pool: as its workers report it, and as a front end combines it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.runtime.worker_view import WorkerView
from shared import keys
from shared.settings import Settings
from workers.runtime.pool_pace import Pace


def test_has_no_rate_before_first_measurement() -> None:
    assert Pace(0.9).a_second is None


def test_recent_and_large_measurements_weigh_most() -> None:
    pace = Pace(0.5)
    pace.note(100, 1)
    assert pace.a_second == 100
    pace.note(0, 0.5)
    assert pace.a_second == 50
    for _ in range(20):
        pace.note(1000, 1)
    assert pace.a_second == pytest.approx(1000, rel=1e-4)


class Heard:
    """A stand-in for Redis with workers by pool and paces by worker."""

    def __init__(self, paces: dict[str, bytes | None]) -> None:
        self.paces = paces
        self.client = self

    def pipeline(self, transaction: bool) -> Heard:
        self.names: list[Any] = []
        return self

    def time(self) -> None:
        self.names.append((1_000, 0))

    def zrangebyscore(self, name: str, *_: Any, withscores: bool) -> None:
        pool = name.rpartition(":")[2]
        self.names.append([(w.encode(), 1_000.0) for w in self.paces if w.startswith(pool)])

    def execute(self) -> list[Any]:
        return self.names

    def mget(self, names: list[str]) -> list[bytes | None]:
        by_key = {keys.pace(w.partition("-")[0], w): pace for w, pace in self.paces.items()}
        return [by_key.get(name) for name in names]

    async def ask(self, said: Any, deadline: Any) -> Any:
        return said


def _looked(paces: dict[str, bytes | None]) -> WorkerView:
    async def look() -> WorkerView:
        pools = WorkerView(Settings(), Heard(paces))  # type: ignore[call-arg, arg-type, unused-ignore]
        await pools.start()
        await pools.stop()
        return pools

    return asyncio.run(look())


def test_pool_pace_is_sum_of_its_workers() -> None:
    pools = _looked({"cpu-a": b"1000", "cpu-b": b"3000", "gpu-a": b"50"})
    assert pools.alive == {"cpu": 2, "gpu": 1}
    assert pools.bytes_in("cpu", 2.0) == 8000
    assert pools.bytes_in("gpu", 0.5) == 25


def test_new_worker_counts_as_the_average() -> None:
    pools = _looked({"cpu-a": b"1000", "cpu-b": None, "gpu-a": None})
    assert pools.bytes_in("cpu", 1.0) == 2000
    assert pools.bytes_in("gpu", 1.0) == -1


def test_pool_without_workers_has_no_pace() -> None:
    assert _looked({}).bytes_in("cpu", 1.0) == -1
