"""The age of prices counts from the last read, or from the start, by the monotonic clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from api.accounting import token_prices
from api.accounting.token_prices import Prices
from shared.settings import Settings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two clocks that the test sets: ``now`` (monotonic) and ``wall``."""
    clock = SimpleNamespace(now=100.0, wall=1e9)
    clock.monotonic, clock.time = lambda: clock.now, lambda: clock.wall
    monkeypatch.setattr(token_prices, "time", clock)
    return clock


def test_counts_from_the_start_until_prices_are_read(clock: SimpleNamespace) -> None:
    prices = Prices(Settings(pricing_dsn=SecretStr("host=127.0.0.1 port=9")))
    clock.now += 4000
    assert prices.stale_seconds == 4000
    assert prices.age is None
    assert prices.snapshot()["age_seconds"] is None
    prices._succeeded([])
    clock.now += 5
    assert prices.stale_seconds == prices.age == 5
    prices._failed("OperationalError")
    assert prices.stale_seconds == 5


def test_age_is_independent_of_the_wall_clock(clock: SimpleNamespace) -> None:
    prices = Prices(Settings(pricing_dsn=SecretStr("host=127.0.0.1 port=9")))
    prices._succeeded([])
    clock.now, clock.wall = clock.now + 7, clock.wall - 86_400
    assert prices.age == prices.stale_seconds == 7


def test_has_no_age_without_a_database(clock: SimpleNamespace) -> None:
    assert Prices(Settings()).stale_seconds is None
