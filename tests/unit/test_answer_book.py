"""Usage records that are written while the provider works on the request."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.accounting.usage_record import AnsweredRequest
from api.accounting.usage_recording import AnswerBook, Recording


class _Book(AnswerBook):
    """A book that keeps the requests it records."""

    def __init__(self) -> None:
        nothing: Any = SimpleNamespace()
        super().__init__(nothing, nothing, nothing)
        self.requests: list[AnsweredRequest] = []

    def record(self, request: AnsweredRequest, answer: Any) -> None:
        self.requests.append(request)


def _soon(book: AnswerBook) -> Recording:
    answer: Any = None
    return book.record_soon(AnsweredRequest("id", "user", 0.1), answer)


def test_record_is_written_once_when_asked_for() -> None:
    async def ask() -> None:
        book = _Book()
        recording = _soon(book)
        assert not book.requests
        recording.write_now()
        recording.write_now()
        assert len(book.requests) == 1

    asyncio.run(ask())


def test_record_is_written_if_nobody_asks() -> None:
    async def ask() -> None:
        written = asyncio.Event()
        Recording(written.set)
        async with asyncio.timeout(60):
            await written.wait()

    asyncio.run(ask())


@pytest.mark.parametrize("asked", [True, False])
def test_stopping_writes_what_is_waiting(asked: bool) -> None:
    async def ask() -> None:
        book = _Book()
        recording = _soon(book)
        if asked:
            recording.write_now()
        await book.stop()
        assert len(book.requests) == 1

    asyncio.run(ask())
