"""The ledger's reader while Redis is unavailable: only the probe waits, not every report."""

from __future__ import annotations

import asyncio

import pytest

from api.accounting.time_range import TimeRange
from api.accounting.usage_reader import Reader
from api.runtime.redis_guard import RedisGuard
from shared.circuit_breaker import Breaker
from shared.errors import Unavailable
from shared.redis_connection import connect_async
from shared.settings import Settings


def test_does_not_query_redis_known_paused() -> None:
    async def work() -> None:
        connections: list[asyncio.StreamReader] = []
        accepted = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(reader)  # and never answer
            accepted.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = Settings(redis_url=f"redis://127.0.0.1:{port}", redis_timeout=0.1)
            place = RedisGuard(connect_async(settings), settings)
            settled: list[None] = []

            async def settle() -> None:
                settled.append(None)

            books = Reader(settings, place, place, settle)
            with pytest.raises(Unavailable):
                await books.totals(TimeRange())
            assert settled, "earlier answers must be included"
            async with asyncio.timeout(60):  # the outage was not known yet, so it was queried
                await accepted.wait()  # perhaps after the query was given up
            await place.check()
            assert place.condition == "timeout"
            probed = len(connections)
            for question in (
                books.ring("recent"),
                books.totals(TimeRange()),
                books.users(TimeRange()),
                books.sessions(5),
                books.pool("cpu"),
            ):
                with pytest.raises(Unavailable):
                    await question
            assert len(connections) == probed
            await books.stop()
            await place.stop()

    asyncio.run(work())


def test_admits_reads_where_only_writes_fail() -> None:
    for cause, reads in (("read_only", True), ("out_of_memory", True), ("timeout", False)):
        breaker = Breaker(1.0)
        assert breaker.admits_reading
        breaker.failed(cause)  # type: ignore[arg-type]
        assert not breaker.admits
        assert breaker.admits_reading is reads
        assert breaker.probe()
        assert breaker.admits_reading is reads
        breaker.answered()
        assert breaker.admits_reading
