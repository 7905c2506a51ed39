"""Large bodies share a budget or are rejected at once, and release it in every case."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from api.http.request import SMALL_BODY_BYTES, Intake, read_body
from shared.errors import BodyTooLarge, BrokenCoding, MalformedBody, Unavailable
from shared.settings import Settings

MEGABYTE = 1 << 20


class Asked:
    """A stand-in for a request with a body."""

    content_type = "application/json"

    def __init__(
        self, *pieces: bytes, length: int | None = None, coding: str = "", whole: bool = True
    ) -> None:
        self.content_length = length
        self.context = SimpleNamespace(arrival=SimpleNamespace(whole=whole))
        self.scope: dict[str, Any] = {}
        self._pieces = pieces
        self._coding = coding

    def get_header(self, name: str) -> str | None:
        return self._coding if name == "content-encoding" else None

    @property
    async def stream(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def asked(*pieces: bytes, **more: Any) -> Any:
    return Asked(*pieces, **more)


def free_bytes(intake: Intake) -> int:
    return intake._free_bytes


def end(req: Any) -> None:
    for tell in req.scope.values():
        tell[0]()


def test_only_large_bodies_count_towards_the_budget() -> None:
    intake = Intake(Settings(bodies_bytes=3 * MEGABYTE))
    large = b"x" * (2 * MEGABYTE)

    async def work() -> None:
        first = asked(large, length=len(large))
        assert (await intake.body(first))[0] == large
        assert free_bytes(intake) == MEGABYTE
        for kind in (asked(large, length=len(large)), asked(large)):
            with pytest.raises(Unavailable):
                await intake.body(kind)
            end(kind)
        small = asked(large[:SMALL_BODY_BYTES])
        assert len((await intake.body(small))[0]) == SMALL_BODY_BYTES
        assert free_bytes(intake) == MEGABYTE
        for req in (first, small):
            end(req)
        assert free_bytes(intake) == 3 * MEGABYTE

    asyncio.run(work())


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (asked(b"x" * 5 * MEGABYTE), BodyTooLarge),
        (asked(b"{}", length=5 * MEGABYTE), BodyTooLarge),
        (asked(b"x" * 2 * MEGABYTE, length=3 * MEGABYTE), MalformedBody),
        (asked(b"x" * 2 * MEGABYTE, whole=False), MalformedBody),
        (asked(gzip.compress(b"x" * 2 * MEGABYTE)[:-4], coding="gzip"), BrokenCoding),
        (asked(gzip.compress(b"x" * 5 * MEGABYTE), coding="gzip"), BodyTooLarge),
    ],
)
def test_releases_body_budget_on_any_error(given: Any, error: type[Exception]) -> None:
    intake = Intake(Settings(bodies_bytes=8 * MEGABYTE, max_body_bytes=4 * MEGABYTE))

    async def work() -> None:
        with pytest.raises(error):
            await intake.body(given)
        end(given)

    asyncio.run(work())
    assert free_bytes(intake) == 8 * MEGABYTE


def test_stops_decompression_bomb_at_the_limit() -> None:
    seen: list[int] = []
    bomb = gzip.compress(b"x" * 200 * MEGABYTE)
    with pytest.raises(BodyTooLarge):
        asyncio.run(read_body(asked(bomb, coding="gzip"), 4 * MEGABYTE, seen.append))
    assert max(seen) <= 5 * MEGABYTE
