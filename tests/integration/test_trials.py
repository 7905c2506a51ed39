"""Sessions in the comparison of groups: counted once, replaced, bounded, exported."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from api.accounting import ledger as module
from api.accounting.export import Archive
from api.accounting.ledger import Ledger
from api.accounting.usage_record import Trial, UsageRecord
from api.accounting.write_ahead_log import Line
from shared import keys
from shared.settings import Settings

from ..farm import Farm

BIG = 9_000_000_000_000_000
"""Units of 1e-10 USD near the largest exact integer of a double: 900 000 USD."""


class Books:
    """A separate Redis, and records sent to it by new writers."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.settings = Settings(redis_url=farm.redis_url, data_dir=farm.directory / "own")
        self._writers = 0

    def send(self, *entries: UsageRecord, times: int = 1) -> None:
        """Send records as one new writer, the same lines ``times`` times."""
        self._writers += 1

        async def send() -> None:
            ledger = Ledger(self.settings)
            lines = [Line(seq, entry) for seq, entry in enumerate(entries, 1)]
            for _ in range(times):
                assert await ledger.send(f"w{self._writers}", lines)
            assert not ledger.dropped
            await ledger.stop()

        asyncio.run(send())

    def lines(self) -> dict[str, dict[str, int]]:
        """Return the amounts of each line, by arm, rule and session."""
        found: Any = self.farm.redis.hgetall(keys.books("trials"))
        return {
            name.decode().replace("\x1f", "|"): msgspec.json.decode(text)["n"]
            for name, text in found.items()
        }


@pytest.fixture(scope="module")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Farm(tmp_path_factory.mktemp("trials")) as farm:
        farm.start_redis()
        yield farm


@pytest.fixture
def books(_valkey: Farm) -> Books:
    """An empty ledger."""
    _valkey.redis.flushall()
    return Books(_valkey)


def _entry(
    session: str, chain: str = "", answer: str = "", at: float = 0.0, **amounts: int
) -> UsageRecord:
    trial = Trial("pilot", "on", session, chain, {"requests": 1, **amounts})
    row = [("requests", "1")]
    when = at or time.time()
    return UsageRecord(when, row, [], answer=answer, user="ada", model="m", trial=trial)


def test_requests_of_a_session_add_up_however_often_they_are_sent(books: Books) -> None:
    first = [_entry("aa", "01", after=5), _entry("aa", "02", after=7), _entry("bb", "03", after=1)]
    books.send(*first, times=3)
    assert books.lines() == {
        "on|pilot|aa": {"requests": 2, "after": 12},
        "on|pilot|bb": {"requests": 1, "after": 1},
    }


def test_large_sums_are_exact(books: Books) -> None:
    books.send(_entry("aa", **{"with": BIG}), _entry("aa", **{"with": 7}))
    assert books.lines()["on|pilot|aa"]["with"] == BIG + 7


def test_later_answer_to_a_request_replaces_the_earlier(books: Books) -> None:
    now = time.time()
    guessed = _entry("aa", answer="x", at=now, unread=1)
    counted = _entry("aa", "01", answer="x", at=now + 1, after=5, repeats=2)
    again = _entry("aa", "01", answer="x", at=now + 2, after=6, repeats=2)
    books.send(guessed, counted)
    assert books.lines()["on|pilot|aa"] == {"requests": 1, "after": 5, "repeats": 2}
    books.send(again)
    assert books.lines()["on|pilot|aa"] == {"requests": 1, "after": 6, "repeats": 2}


def test_repeated_conversation_adds_no_repeats(books: Books) -> None:
    books.send(_entry("aa", "01", answer="x", repeats=2), _entry("aa", "01", answer="y", repeats=2))
    assert books.lines()["on|pilot|aa"] == {"requests": 2, "repeats": 2}
    books.send(_entry("aa", "02", answer="z", repeats=1))
    assert books.lines()["on|pilot|aa"]["repeats"] == 3


def test_oldest_sessions_are_dropped(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRIALS", 10)
    now = time.time()
    books.send(*[_entry(f"{n:02x}", at=now - 100 + n) for n in range(25)])
    sessions = sorted(name.rpartition("|")[2] for name in books.lines())
    assert sessions == [f"{n:02x}" for n in range(15, 25)]
    assert books.farm.redis.zcard(keys.books("used:trials")) == 10


def test_export_keeps_the_comparison(books: Books) -> None:
    books.send(_entry("aa", "01", after=5))
    before = books.lines()
    text = Archive(books.settings).json()
    books.farm.redis.flushall()
    Archive(books.settings).restore(text.encode())
    assert books.lines() == before
    books.send(_entry("aa", "02", after=7))
    assert books.lines()["on|pilot|aa"] == {"requests": 2, "after": 12}
