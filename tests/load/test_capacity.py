"""The capacity model agrees with queueing theory in cases with an exact solution."""

from __future__ import annotations

import pytest

from loadtest.capacity import Cost, need, simulate

ONE_EACH = {"front end": 1, "cpu workers": 1, "gpu workers": 1, "redis": 1, "driver": 1}


def _cost(**milliseconds: float) -> Cost:
    parts = ("front end", "cpu workers", "gpu workers", "redis", "driver")
    given = {name.replace("_", " "): value / 1e3 for name, value in milliseconds.items()}
    return Cost({part: given.get(part, 0.0) for part in parts}, 10, 1000)


def test_single_user_does_not_wait() -> None:
    cost = _cost(front_end=2, cpu_workers=4, redis=1, driver=1)
    said = simulate(cost, 1, cores=8, processes=ONE_EACH, requests=20_000)
    assert said.throughput == pytest.approx(1 / 0.008, rel=0.05)


def test_busiest_station_limits_many_users() -> None:
    cost = _cost(front_end=2, cpu_workers=5, redis=1)
    said = simulate(cost, 60, cores=64, processes=ONE_EACH, requests=20_000)
    assert said.throughput == pytest.approx(1 / 0.005, rel=0.05)
    two = simulate(cost, 60, cores=64, processes={**ONE_EACH, "cpu workers": 2}, requests=20_000)
    assert two.throughput == pytest.approx(2 / 0.005, rel=0.05)
    assert said.median > two.median


def test_cores_limit_all_stations() -> None:
    cost = _cost(front_end=4, cpu_workers=4)
    wide = {**ONE_EACH, "front end": 8, "cpu workers": 8}
    said = simulate(cost, 60, cores=2, processes=wide, requests=20_000)
    assert said.throughput == pytest.approx(2 / 0.008, rel=0.05)


def test_needs_grow_with_users() -> None:
    cost = _cost(front_end=3, redis=0.5)
    small, large = (need(cost, users, 30.0, 2e6) for users in (10_000, 1_000_000))
    assert large["front-end cores"] == pytest.approx(100 * small["front-end cores"])
    assert small["front-end cores"] == pytest.approx(10_000 / 30 * 0.003 / 0.6)
    assert small["Redis GB of users' state"] == pytest.approx(20)
