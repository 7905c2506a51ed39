"""Admission control: a process admits what it can read in time, and users share its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from api.runtime import admission
from api.runtime.admission import REQUEST_BYTES, SLICE_SECONDS, AdmissionControl
from shared import deadline
from shared.deadline import Deadline
from shared.errors import Degraded

MEGABYTE = 1024 * 1024


def running(test: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(test())


class Clock:
    """The clock of admission and deadlines; only the tests advance it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (admission, deadline):
        monkeypatch.setattr(module, "time", CLOCK)


def busy(seconds: float) -> None:
    """Advance the clock, as if the thread were blocked."""
    CLOCK.now += seconds


def test_admits_single_request_of_any_size() -> None:
    async def test() -> None:
        control = AdmissionControl()
        assert not control.admit("u", 64 * MEGABYTE, Deadline.after(0.1)).refused

    running(test)


def test_refuses_work_beyond_half_of_the_deadline() -> None:
    async def test() -> None:
        control = AdmissionControl()
        first = control.admit("a", MEGABYTE // 2, Deadline.after(1))
        assert control.admit("b", MEGABYTE, Deadline.after(1)).refused
        assert not control.admit("c", MEGABYTE // 4, Deadline.after(1)).refused
        first.finish()
        assert not control.admit("b", MEGABYTE // 2, Deadline.after(1)).refused

    running(test)


def test_flood_of_one_user_leaves_space_for_another() -> None:
    async def test() -> None:
        control = AdmissionControl()
        flood = [control.admit("flood", 20_000, Deadline.after(1)) for _ in range(100)]
        assert sum(one.refused for one in flood) > 50
        assert not control.admit("other", 20_000, Deadline.after(1)).refused

    running(test)


def test_user_whose_request_is_over_is_like_any_other() -> None:
    async def test() -> None:
        control = AdmissionControl()
        control.admit("other", 0, Deadline.after(1))
        control.admit("u", 0, Deadline.after(1)).finish()
        assert not control.admit("u", MEGABYTE * 3 // 4, Deadline.after(1)).refused
        assert control.admit("u", 0, Deadline.after(1)).refused

    running(test)


def test_leaving_releases_all_admitted_bytes() -> None:
    async def test() -> None:
        control = AdmissionControl()
        for _ in range(3):
            admissions = [control.admit("u", 30_000, Deadline.after(1)) for _ in range(200)]
            assert any(one.refused for one in admissions)
            for one in admissions:
                one.finish()
                one.finish()
        control.admit("a", 0, Deadline.after(1))
        taken = MEGABYTE // 2 - 2 * REQUEST_BYTES
        assert not control.admit("b", taken, Deadline.after(1)).refused

    running(test)


def test_slow_process_admits_less() -> None:
    async def test() -> bool:
        control = AdmissionControl()
        for _ in range(40):
            admission = control.admit("u", 100, Deadline.after(5))
            await admission.acquire_thread()
            busy(0.01)  # about 400 KB per second
            admission.finish()
        control.admit("a", 100_000, Deadline.after(1))
        return control.admit("b", 300_000, Deadline.after(1)).refused

    assert running(test)


def test_waiting_elsewhere_does_not_lower_measured_speed() -> None:
    async def test() -> bool:
        control = AdmissionControl()
        for _ in range(5):
            admission = control.admit("u", 100, Deadline.after(5))
            await admission.acquire_thread()
            admission.release_thread()
            CLOCK.now += 0.2
            admission.finish()
        control.admit("a", 100_000, Deadline.after(1))
        return control.admit("b", 300_000, Deadline.after(1)).refused

    assert not running(test)


def test_slow_event_loop_admits_nothing_more() -> None:
    async def test() -> list[bool]:
        control = AdmissionControl()
        control.admit("a", 100, Deadline.after(2))
        before = control.admit("b", 100, Deadline.after(2)).refused
        until = Deadline.after(2)
        waits = control.wait_deadline(until)
        assert 1.5 < waits.remaining < 1.9
        for _ in range(4):
            control.admit("a", 100, Deadline.after(2))
            busy(0.2)  # as accepting connections and sending answers would
            await asyncio.sleep(0)
        assert control.wait_deadline(until).monotonic < waits.monotonic - 0.1
        return [before, control.admit("c", 100, Deadline.after(2)).refused]

    assert running(test) == [False, True]


def test_one_slow_loop_iteration_refuses_no_request() -> None:
    async def test() -> bool:
        control = AdmissionControl()
        control.admit("a", 100, Deadline.after(8))
        busy(0.15)  # as a slow regular expression would
        await asyncio.sleep(0)
        return control.admit("b", 100, Deadline.after(8)).refused

    assert not running(test)


def test_one_slow_loop_iteration_keeps_most_time() -> None:
    async def test() -> float:
        control = AdmissionControl()
        control.admit("a", 100, Deadline.after(2))
        busy(0.5)  # as loading a library would
        await asyncio.sleep(0)
        return control.admit("b", 100, Deadline.after(8)).ends.remaining

    assert 5.9 < running(test) <= 6.0


def order(names: str, pieces: int, seconds: float) -> str:
    """Return the order in which users' pieces of work, each of ``seconds``, ran."""

    async def test() -> str:
        control = AdmissionControl()
        said: list[str] = []

        async def work(name: str) -> None:
            admission = control.admit(name, 100, Deadline.after(5))
            for _ in range(pieces):
                await admission.acquire_thread()
                said.append(name)
                busy(seconds)
            admission.finish()

        await asyncio.gather(*map(work, names))
        return "".join(said)

    found: str = running(test)
    return found


def test_yields_thread_after_its_time_slice() -> None:
    assert order("abc", 2, 2 * SLICE_SECONDS) == "abcabc"


def test_small_pieces_run_without_yielding() -> None:
    assert order("ab", 3, 0.0) == "aaabbb"


def test_stops_waiting_for_thread_at_deadline() -> None:
    async def test() -> None:
        control = AdmissionControl()
        holder = control.admit("a", 100, Deadline.after(5))
        await holder.acquire_thread()
        late = control.admit("b", 100, Deadline.after(0.05))
        with pytest.raises(Degraded, match="deadline"):
            await late.acquire_thread()
        late.finish()
        holder.finish()
        third = control.admit("c", 100, Deadline.after(5))
        await asyncio.wait_for(third.acquire_thread(), 5)

    running(test)


def test_cancelled_waiter_holds_no_admission() -> None:
    async def test() -> None:
        control = AdmissionControl()
        holder = control.admit("a", 100, Deadline.after(5))
        await holder.acquire_thread()
        admission = control.admit("b", 100, Deadline.after(5))
        waiting = asyncio.create_task(admission.acquire_thread())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        admission.finish()
        holder.finish()
        third = control.admit("c", 100, Deadline.after(5))
        await asyncio.wait_for(third.acquire_thread(), 5)
        third.finish()
        CLOCK.now += 0.5  # an idle thread does not lower the measured speed
        fourth = control.admit("d", 100_000, Deadline.after(1))
        await fourth.acquire_thread()
        assert not control.admit("e", 800_000, Deadline.after(1)).refused

    running(test)
