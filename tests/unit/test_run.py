"""``make run`` ends the farm and removes its data, however long the farm takes to stop."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import run
from deploy.up_command import Farm, stop_seconds
from shared.settings import Settings

_STUBBORN = """
import signal, sys, time
left = int(sys.argv[1])
def ignore(*_):
    global left
    left -= 1
    if left < 0: raise SystemExit
signal.signal(signal.SIGTERM, ignore)
print("ready http://127.0.0.1:9", flush=True)
while True: time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Keep the handlers of signals that ``run`` replaces."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ignored", [0, 1, 99])
def test_removes_data_of_a_farm_that_stops_slowly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ignored: int
) -> None:
    command = [sys.executable, "-c", _STUBBORN, str(ignored)]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(run, "python_module", lambda *_: [*command])
    monkeypatch.setattr(run, "demo", lambda url: None)
    monkeypatch.setattr(run, "stop_seconds", lambda settings: 0.0)
    monkeypatch.setattr(run, "_SPARE_SECONDS", 0.2)
    assert run.run(0, once=True) == 0
    assert not list(tmp_path.iterdir())


def test_waits_as_long_as_the_farm_may_take() -> None:
    settings = Settings(deadline_ms=20_000, drain_seconds=3)
    assert Farm(settings, embedded_redis=False)._grace == stop_seconds(settings) > 23
