"""A process takes on what it can read in time, one request at a time, others first in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from api.runtime import admission
from api.runtime.admission import REQUEST_BYTES, TURN_SECONDS, AdmissionControl
from shared import deadline
from shared.deadline import Deadline
from shared.errors import Degraded

MEGABYTE = 1024 * 1024


def running(test: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(test())


class Clock:
    """The time as admission and deadlines see it: it goes on where a test says so."""

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
    """Keep the thread for so long."""
    CLOCK.now += seconds


def test_admits_single_request_of_any_size() -> None:
    async def test() -> None:
        room = AdmissionControl()
        assert not room.enter("u", 64 * MEGABYTE, Deadline.after(0.1)).refused

    running(test)


def test_refuses_work_beyond_half_of_the_deadline() -> None:
    async def test() -> None:
        room = AdmissionControl()
        first = room.enter("a", MEGABYTE // 2, Deadline.after(1))
        assert room.enter("b", MEGABYTE, Deadline.after(1)).refused
        assert not room.enter("c", MEGABYTE // 4, Deadline.after(1)).refused
        first.leave()
        assert not room.enter("b", MEGABYTE // 2, Deadline.after(1)).refused

    running(test)


def test_flood_of_one_user_leaves_space_for_another() -> None:
    async def test() -> None:
        room = AdmissionControl()
        flood = [room.enter("flood", 20_000, Deadline.after(1)) for _ in range(100)]
        assert sum(place.refused for place in flood) > 50
        assert not room.enter("other", 20_000, Deadline.after(1)).refused

    running(test)


def test_leaving_releases_all_admitted_bytes() -> None:
    async def test() -> None:
        room = AdmissionControl()
        for _ in range(3):
            places = [room.enter("u", 30_000, Deadline.after(1)) for _ in range(200)]
            assert any(place.refused for place in places)
            for place in places:
                place.leave()
                place.leave()
        room.enter("a", 0, Deadline.after(1))
        taken = MEGABYTE // 2 - 2 * REQUEST_BYTES
        assert not room.enter("b", taken, Deadline.after(1)).refused

    running(test)


def test_slow_process_admits_less() -> None:
    async def test() -> bool:
        room = AdmissionControl()
        for _ in range(40):
            place = room.enter("u", 100, Deadline.after(5))
            await place.turn()
            busy(0.01)  # some 400 KB a second
            place.leave()
        room.enter("a", 100_000, Deadline.after(1))
        return room.enter("b", 300_000, Deadline.after(1)).refused

    assert running(test)


def test_waiting_elsewhere_does_not_lower_measured_speed() -> None:
    async def test() -> bool:
        room = AdmissionControl()
        for _ in range(5):
            place = room.enter("u", 100, Deadline.after(5))
            await place.turn()
            place.rest()
            CLOCK.now += 0.2
            place.leave()
        room.enter("a", 100_000, Deadline.after(1))
        return room.enter("b", 300_000, Deadline.after(1)).refused

    assert not running(test)


def test_slow_event_loop_admits_nothing_more() -> None:
    async def test() -> list[bool]:
        room = AdmissionControl()
        room.enter("a", 100, Deadline.after(2))
        before = room.enter("b", 100, Deadline.after(2)).refused
        until = Deadline.after(2)
        waits = room.before(until)
        assert 1.5 < waits.remaining < 1.9
        for _ in range(4):
            room.enter("a", 100, Deadline.after(2))
            busy(0.2)  # all that takes connections and passes answers on
            await asyncio.sleep(0)
        assert room.before(until).monotonic < waits.monotonic - 0.1
        return [before, room.enter("c", 100, Deadline.after(2)).refused]

    assert running(test) == [False, True]


def test_one_slow_loop_iteration_refuses_no_request() -> None:
    async def test() -> bool:
        room = AdmissionControl()
        room.enter("a", 100, Deadline.after(8))
        busy(0.15)  # a text that an expression takes long over
        await asyncio.sleep(0)
        return room.enter("b", 100, Deadline.after(8)).refused

    assert not running(test)


def test_one_slow_loop_iteration_keeps_most_time() -> None:
    async def test() -> float:
        room = AdmissionControl()
        room.enter("a", 100, Deadline.after(2))
        busy(0.5)  # something was loaded
        await asyncio.sleep(0)
        return room.enter("b", 100, Deadline.after(8)).ends.remaining

    assert 5.9 < running(test) <= 6.0


def order(names: str, pieces: int, seconds: float) -> str:
    """Return whose pieces of work of so many seconds were done one after the other."""

    async def test() -> str:
        room = AdmissionControl()
        said: list[str] = []

        async def work(name: str) -> None:
            place = room.enter(name, 100, Deadline.after(5))
            for _ in range(pieces):
                await place.turn()
                said.append(name)
                busy(seconds)
            place.leave()

        await asyncio.gather(*map(work, names))
        return "".join(said)

    found: str = running(test)
    return found


def test_yields_thread_after_its_time_slice() -> None:
    assert order("abc", 2, 2 * TURN_SECONDS) == "abcabc"


def test_small_pieces_run_without_yielding() -> None:
    assert order("ab", 3, 0.0) == "aaabbb"


def test_stops_waiting_for_thread_at_deadline() -> None:
    async def test() -> None:
        room = AdmissionControl()
        holder = room.enter("a", 100, Deadline.after(5))
        await holder.turn()
        late = room.enter("b", 100, Deadline.after(0.05))
        with pytest.raises(Degraded, match="deadline"):
            await late.turn()
        late.leave()
        holder.leave()
        third = room.enter("c", 100, Deadline.after(5))
        await asyncio.wait_for(third.turn(), 5)

    running(test)


def test_cancelled_waiter_holds_no_admission() -> None:
    async def test() -> None:
        room = AdmissionControl()
        holder = room.enter("a", 100, Deadline.after(5))
        await holder.turn()
        place = room.enter("b", 100, Deadline.after(5))
        waiting = asyncio.create_task(place.turn())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        place.leave()
        holder.leave()
        third = room.enter("c", 100, Deadline.after(5))
        await asyncio.wait_for(third.turn(), 5)
        third.leave()
        CLOCK.now += 0.5  # nobody wants the thread: that is no slowness
        fourth = room.enter("d", 100_000, Deadline.after(1))
        await fourth.turn()
        assert not room.enter("e", 800_000, Deadline.after(1)).refused

    running(test)
