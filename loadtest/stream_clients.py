"""Measures what an HTTP client library would cost the proxy on a stream of many small chunks.

``python -P -m loadtest.stream_clients`` queries a stand-in provider in a separate process, whose
stream is 1000 events of 180 bytes, each written separately. For each library it prints the median
time to the first byte on an open connection, and this process's CPU time per event, with one
stream and with 50 concurrent ones.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import httpx
import uvloop

from .stand_in import PLAY, own_process, text

_EVENTS = 1000
_PLAY = ((PLAY, f"text {_EVENTS}"),)
_ROUNDS = 20
_AT_ONCE = 50

Read = Callable[[str], AsyncIterator[bytes]]


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with session.post(url, data=b"{}", headers=_PLAY) as answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

        yield read


@asynccontextmanager
async def _httpx() -> AsyncIterator[Read]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with client.stream("POST", url, content=b"{}", headers=_PLAY) as answer:
                async for chunk in answer.aiter_raw():
                    yield chunk

        yield read


@asynccontextmanager
async def _httpcore() -> AsyncIterator[Read]:
    import httpcore

    async with httpcore.AsyncConnectionPool(max_connections=None) as pool:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with pool.stream("POST", url, content=b"{}", headers=_PLAY) as answer:
                async for chunk in answer.aiter_stream():
                    yield chunk

        yield read


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Read]]] = {
    "aiohttp": _aiohttp,
    "httpx": _httpx,
    "httpcore": _httpcore,
}


async def _measure(name: str, url: str) -> dict[str, Any]:
    async def whole(read: Read) -> float:
        started, first, size = time.perf_counter(), 0.0, 0
        async for chunk in read(url):
            first = first or time.perf_counter() - started
            size += len(chunk)
        if size != len(text(_EVENTS)):
            raise AssertionError(f"{name} read {size} bytes")
        return first

    async with CLIENTS[name]() as read:
        await whole(read)
        began = time.process_time()
        firsts = [await whole(read) for _ in range(_ROUNDS)]
        alone = time.process_time() - began
        began = time.process_time()
        await asyncio.gather(*[whole(read) for _ in range(_AT_ONCE)])
        together = time.process_time() - began
    return {
        "client": name,
        "first_byte_p50_ms": round(1000 * statistics.median(firsts), 2),
        "us_per_event_alone": round(1e6 * alone / (_ROUNDS * _EVENTS), 1),
        "us_per_event_50_at_once": round(1e6 * together / (_AT_ONCE * _EVENTS), 1),
    }


def main() -> None:
    """Print one line of JSON for each client."""
    with own_process() as url:
        for name in CLIENTS:
            print(json.dumps(uvloop.run(_measure(name, url))))


if __name__ == "__main__":
    main()
