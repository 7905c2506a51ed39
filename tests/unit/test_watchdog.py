"""How long a worker's loop may be silent: its announced time, and a margin for Redis."""

from __future__ import annotations

import time

import pytest

from workers.runtime.limits import Limit
from workers.runtime.watchdog import Watchdog

MARGIN = 10.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The current time, which tests set."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_loop_silent_beyond_its_allowance_has_stopped(now: list[float]) -> None:
    watchdog = Watchdog(MARGIN / 10)
    for allowed in (0.0, 12.0):
        watchdog.beat(allowed)
        now[0] += allowed + MARGIN - 0.1
        assert not watchdog.stopped
        now[0] += 0.2
        assert watchdog.stopped
    watchdog.beat()
    assert not watchdog.stopped


def test_engine_may_use_its_full_time_limit(now: list[float]) -> None:
    watchdog = Watchdog(MARGIN / 10)
    limit = Limit(20, watchdog)
    with limit.watched(3):
        now[0] += 3 * 20 + MARGIN
        assert not watchdog.stopped
        now[0] += 3.0
        assert watchdog.stopped
    assert not watchdog.stopped
    now[0] += MARGIN + 0.1
    assert watchdog.stopped


def test_limited_call_counts_as_beat(now: list[float]) -> None:
    watchdog = Watchdog(MARGIN / 10)
    now[0] += MARGIN + 1
    assert watchdog.stopped
    assert Limit(20, watchdog)(lambda: watchdog.stopped) is False
