"""The ledger and a real Redis: each entry is recorded once, at the right time, and not lost."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.accounting.ledger import NAME_UNUSED, Ledger, day_of, hour_of
from api.accounting.usage_record import UsageRecord
from api.accounting.write_ahead_log import Line
from shared import keys
from shared.settings import Settings

from ..farm import Farm, until

DAY = 86_400


class Books:
    """A farm's Redis, and entries sent to it by new writers."""

    def __init__(self, farm: Farm, **settings: Any) -> None:
        self._settings = Settings(
            redis_url=farm.redis_url, data_dir=farm.directory / "own", **settings
        )
        self._farm = farm
        self._writers = 0

    def send(self, *entries: UsageRecord) -> None:
        """Send entries as one new writer; all must be accepted."""
        self._writers += 1

        async def send() -> None:
            ledger = Ledger(self._settings)
            lines = [Line(seq, entry) for seq, entry in enumerate(entries, 1)]
            assert await ledger.send(f"w{self._writers}", lines)
            assert not ledger.dropped
            await ledger.stop()

        asyncio.run(send())

    def counters(self, bucket: str) -> dict[str, str]:
        """Return a hash's counters by field, with ``|`` for the separators."""
        found: Any = self._farm.redis.hgetall(keys.books(bucket))
        return {k.decode().replace("\x1f", "|"): v.decode() for k, v in found.items()}


@pytest.fixture(scope="module")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Farm(tmp_path_factory.mktemp("ledger")) as farm:
        farm.start_redis()
        yield farm


@pytest.fixture
def empty(_valkey: Farm) -> Farm:
    """A farm with only Redis running, without data."""
    _valkey.redis.flushall()
    return _valkey


def _entry(at: float, user: str = "ada", **more: Any) -> UsageRecord:
    return UsageRecord(at=at, row=[("requests", "1")], more=[], user=user, model="m", **more)


@pytest.mark.parametrize("off", [500 * DAY, -500 * DAY, 2 * DAY], ids=str)
def test_wrong_host_clock_deletes_no_rows(
    empty: Farm, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    books, now = Books(empty), time.time()
    at, yesterday = datetime.fromtimestamp(now, UTC), now - DAY
    books.send(_entry(yesterday), _entry(now))
    before = {hour_of(at), day_of(at), day_of(datetime.fromtimestamp(yesterday, UTC))}
    with monkeypatch.context() as patched:
        patched.setattr("api.accounting.ledger.time.time", lambda: now + off)
        recent = json.dumps({"request_id": "r", "timestamp": "2001-01-01T00:00:00.000+00:00"})
        recent = recent.replace(": ", ":")
        books.send(_entry(now + off, recent=recent), _entry(yesterday + off))
    for bucket in before:
        assert books.counters(bucket), bucket
    # Both are recorded as with a correct clock: one entry today, one yesterday.
    assert books.counters(day_of(datetime.fromtimestamp(yesterday, UTC)))["t|requests"] == "2"
    assert books.counters("life")["t|requests"] == "4"
    assert books.counters("life")["t|corrected"] == "2"
    line: Any = empty.redis.lindex(keys.books("recent"), -1)
    shown = datetime.fromisoformat(json.loads(line)["timestamp"])
    assert abs(shown.timestamp() - now) < 300


@pytest.mark.parametrize("at", [0.0, time.time() + 500 * DAY], ids=["past", "future"])
def test_entry_with_wrong_clock_is_recorded_now(empty: Farm, at: float) -> None:
    books, now = Books(empty), datetime.now(UTC)
    books.send(_entry(at))
    days = {day_of(now), day_of(now + timedelta(minutes=10))}  # midnight may come between
    assert [books.counters(day)["t|requests"] for day in days if books.counters(day)] == ["1"]
    assert books.counters("life")["t|corrected"] == "1"


def test_script_names_buckets_as_python_does(empty: Farm) -> None:
    books, now = Books(empty, books_days=4000), time.time()
    times = [now - DAY * (3999 - 41 * i) - 3571 * i for i in range(97)]
    leap = [datetime(y, 2, 28, 23, 59, 59, tzinfo=UTC).timestamp() for y in range(2017, 2026)]
    times += [t + more for t in leap for more in (0, 1, DAY, DAY + 1)]
    books.send(*[_entry(at) for at in times])
    for name in (hour_of, day_of):
        buckets = [name(datetime.fromtimestamp(at, UTC)) for at in times]
        for bucket in set(buckets):
            assert books.counters(bucket)["t|requests"] == str(buckets.count(bucket)), bucket
    assert "t|corrected" not in books.counters("life")


def test_expired_buckets_are_deleted_each_hour(empty: Farm) -> None:
    books, now = Books(empty, books_days=10), time.time()
    books.send(_entry(now - 3 * DAY))
    old = day_of(datetime.fromtimestamp(now - 3 * DAY, UTC))
    empty.redis.zadd(keys.books("buckets"), {keys.books(old): now - 1})
    books.send(_entry(now))
    assert not books.counters(old)
    assert books.counters("life")["t|requests"] == "2"


def test_full_table_reuses_slots_of_unused_names(empty: Farm) -> None:
    books, now = Books(empty, books_max_users=3, books_max_models=1), time.time()
    best = {"best": 700, "best_detail": "the best"}
    books.send(_entry(now, "a", **best), _entry(now, "b"), _entry(now, "c"), _entry(now, "d"))
    assert _requests(books) == {"a": 1, "b": 1, "c": 1, "other": 1}
    unused = now - NAME_UNUSED.total_seconds() - 1
    empty.redis.zadd(keys.books("used:users"), {"a": unused, "b": unused})
    books.send(_entry(now, "e"), _entry(now, "c"), _entry(now, "f"), _entry(now, "g"))
    assert _requests(books) == {"c": 2, "e": 1, "f": 1, "other": 4}
    assert books.counters("life:users")["u|other|best_detail"] == "the best"
    assert empty.redis.zcard(keys.books("used:users")) == 3
    today = day_of(datetime.fromtimestamp(now, UTC))
    assert books.counters(f"{today}:users")["u|a|requests"] == "1"  # days keep what they have


def test_name_in_use_keeps_its_slot(empty: Farm) -> None:
    books, now = Books(empty, books_max_users=1), time.time()
    books.send(_entry(now, "a"))
    empty.redis.zadd(keys.books("used:users"), {"a": now - NAME_UNUSED.total_seconds() - 1})
    books.send(_entry(now, "a"), _entry(now, "b"))
    assert _requests(books) == {"a": 2, "other": 1}


def test_unused_models_and_transforms_are_replaced(empty: Farm, monkeypatch: Any) -> None:
    monkeypatch.setattr("api.accounting.ledger._TRANSFORMS", 1)
    books, now = Books(empty, books_max_models=1), time.time()

    def entry(name: str) -> UsageRecord:
        detail = [("hits", "2")]
        row = [("requests", "1")]
        return UsageRecord(now, row, [(f"x:{name}", "1")], detail, user="ada", model=name)

    books.send(entry("one"), entry("two"))
    unused = now - NAME_UNUSED.total_seconds() - 1
    for names in ("used:models", "used:transforms"):
        empty.redis.zadd(keys.books(names), {"one": unused})
    books.send(entry("three"))
    life, detail = books.counters("life"), books.counters("life:detail")
    assert (life["m|other|requests"], life["m|three|requests"]) == ("2", "1")
    assert (detail["m|other|hits"], detail["m|three|hits"]) == ("4", "2")
    assert (life["t|x:other"], life["t|x:three"]) == ("2", "1")
    assert not any("one" in field for field in (*life, *detail))


def _requests(books: Books) -> dict[str, int]:
    """Return the lifetime's requests by user."""
    found = [(name.split("|"), n) for name, n in books.counters("life:users").items()]
    return {name[1]: int(n) for name, n in found if name[2:] == ["requests"]}


def test_entries_written_during_waitaof_stay_unsure(
    own_farm: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAITAOF does not confirm entries that were written while it was waiting."""
    monkeypatch.setattr("api.accounting.ledger._BARRIER_SECONDS", 3600.0)
    monkeypatch.setattr("api.accounting.ledger._AOF_MS", 60_000)
    farm = own_farm()
    farm.start_redis()
    settings = Settings(redis_url=farm.redis_url, data_dir=farm.directory / "own")

    async def play() -> None:
        ledger = Ledger(settings)
        await ledger.start()
        ledger.record(_entry(time.time()))
        await ledger.settled()
        farm.redis.config_set("appendfsync", "no")
        confirming = asyncio.create_task(ledger._confirm())
        blocked = lambda: farm.redis.info("clients")["blocked_clients"]  # noqa: E731
        await asyncio.to_thread(until, "WAITAOF waits", blocked)
        ledger.record(_entry(time.time()))
        await asyncio.to_thread(until, "it is written", lambda: not ledger.backlog)
        farm.redis.config_set("appendfsync", "everysec")
        await confirming
        assert [line.seq for line in ledger._unsure] == [2]
        assert ledger._journal.size
        await ledger.stop()

    asyncio.run(play())


def test_resends_entries_lost_by_redis(
    own_farm: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.accounting.ledger._BARRIER_SECONDS", 3600.0)
    farm = own_farm()
    server = farm.start_redis()
    settings = Settings(
        redis_url=farm.redis_url, data_dir=farm.directory / "own", redis_retry_seconds=0.05
    )

    def entry(number: int) -> UsageRecord:
        return UsageRecord(at=time.time(), row=[], more=[("errors", "1")], answer=f"a{number}")

    async def play() -> None:
        ledger = Ledger(settings)
        await ledger.start()
        for number in range(3):
            ledger.record(entry(number))
        await ledger.settled()
        assert not ledger.backlog
        server.kill()
        shutil.rmtree(farm.directory / "valkey" / "appendonlydir")
        await asyncio.to_thread(farm.start_redis)
        for number in range(3, 5):
            ledger.record(entry(number))
        await asyncio.to_thread(until, "all written", lambda: not ledger.backlog)
        await ledger.stop()

    asyncio.run(play())
    life = farm.redis.hgetall(keys.books("life"))
    assert life[b"t\x1ferrors"] == b"5"


def test_report_waits_briefly_for_earlier_entries(
    own_farm: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.accounting.ledger._WAIT_SECONDS", 60.0)
    farm = own_farm()
    server = farm.start_redis()
    settings = Settings(redis_url=farm.redis_url, data_dir=farm.directory / "own")
    entry = UsageRecord(at=time.time(), row=[], more=[("errors", "1")])

    async def play() -> None:
        ledger = Ledger(settings)
        await ledger.start()
        for _ in range(200):
            ledger.record(entry)
        assert ledger.backlog == 200  # nothing was waited for
        await ledger.settled()
        assert not ledger.backlog
        monkeypatch.setattr("api.accounting.ledger._WAIT_SECONDS", 0.25)
        server.signal(signal.SIGSTOP)
        ledger.record(entry)
        await asyncio.wait_for(ledger.settled(), 60)
        assert ledger.backlog == 1
        server.signal(signal.SIGCONT)
        await asyncio.to_thread(until, "all written", lambda: not ledger.backlog)
        await ledger.stop()

    asyncio.run(play())
    assert farm.redis.hget(keys.books("life"), "t\x1ferrors") == b"201"


def test_resends_loss_found_during_a_batch(
    own_farm: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines put back during a batch must not be removed when the batch is confirmed."""
    monkeypatch.setattr("api.accounting.ledger._BARRIER_SECONDS", 3600.0)
    farm = own_farm()
    farm.start_redis()
    settings = Settings(redis_url=farm.redis_url, data_dir=farm.directory / "own")

    class Slow(Ledger):
        """Delays Redis's confirmation of a batch until released."""

        def __init__(self) -> None:
            super().__init__(settings)
            self.has, self.tell = asyncio.Event(), asyncio.Event()
            self.tell.set()

        async def send(self, *arguments: Any, **options: Any) -> bool:
            taken = await super().send(*arguments, **options)
            self.has.set()
            await self.tell.wait()
            return taken

    async def play() -> None:
        ledger = Slow()
        await ledger.start()
        ledger.record(UsageRecord(at=time.time(), row=[], more=[("errors", "1")]))
        await ledger.settled()
        ledger.has.clear()
        ledger.tell.clear()
        ledger.record(UsageRecord(at=time.time(), row=[], more=[("errors", "1")]))
        await ledger.has.wait()
        farm.redis.flushall()
        await ledger._confirm()  # finds the first entry lost while the second is being sent
        ledger.tell.set()
        await asyncio.to_thread(until, "all written", lambda: not ledger.backlog)
        await ledger.stop()

    asyncio.run(play())
    assert farm.redis.hget(keys.books("life"), "t\x1ferrors") == b"2"


@pytest.mark.parametrize("cost", [0, 7, 10**17])
def test_running_totals_are_exact_beyond_a_double(own_farm: Callable[..., Farm], cost: int) -> None:
    farm = own_farm()
    farm.start_redis()
    row = [(name, str(n)) for name, n in (("saved", 5), ("cost", cost)) if n]
    entry = UsageRecord(at=time.time(), row=row, more=[], user="ada", model="free", history="{")

    async def write() -> None:
        ledger = Ledger(Settings(redis_url=farm.redis_url, data_dir=farm.directory / "own"))
        await ledger.send("w", [Line(1, entry), Line(2, entry)])
        assert not ledger.dropped
        await ledger.stop()

    asyncio.run(write())
    last: Any = farm.redis.lindex(keys.books("history"), -1)
    line = json.loads(last.replace(b"{,", b"{"))
    assert (line["total_tokens_saved"], line["total_cost_units"]) == (10, str(2 * cost))
