"""Measures what an HTTP client library would cost the proxy on a stream of many small chunks.

``python -P -m loadtest.stream_clients`` queries a stand-in provider in a separate process, whose
stream is 1000 events of 180 bytes, each written separately. For each library it prints the median
time to the first byte on an open connection, and this process's CPU time per event, with one
stream and with 50 concurrent ones.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import httpx
import uvloop

_EVENTS = 1000
_EVENT = b"event: content_block_delta\ndata: " + json.dumps({"text": "x" * 130}).encode() + b"\n\n"
_ROUNDS = 20
_AT_ONCE = 50

Read = Callable[[str], AsyncIterator[bytes]]


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with session.post(url, data=b"{}") as answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

        yield read


@asynccontextmanager
async def _httpx() -> AsyncIterator[Read]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with client.stream("POST", url, content=b"{}") as answer:
                async for chunk in answer.aiter_raw():
                    yield chunk

        yield read


@asynccontextmanager
async def _httpcore() -> AsyncIterator[Read]:
    import httpcore

    async with httpcore.AsyncConnectionPool(max_connections=None) as pool:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with pool.stream("POST", url, content=b"{}") as answer:
                async for chunk in answer.aiter_stream():
                    yield chunk

        yield read


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Read]]] = {
    "aiohttp": _aiohttp,
    "httpx": _httpx,
    "httpcore": _httpcore,
}


async def _provide(tell: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"}")
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                    b"transfer-encoding: chunked\r\n\r\n"
                )
                for _ in range(_EVENTS):
                    writer.write(b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT))
                    await writer.drain()
                    await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    tell.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _provider(tell: Connection) -> None:
    uvloop.run(_provide(tell))


async def _measure(name: str, url: str) -> dict[str, Any]:
    async def whole(read: Read) -> float:
        started, first, size = time.perf_counter(), 0.0, 0
        async for chunk in read(url):
            first = first or time.perf_counter() - started
            size += len(chunk)
        if size != _EVENTS * len(_EVENT):
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
    hear, tell = multiprocessing.Pipe(duplex=False)
    provider = multiprocessing.get_context("spawn").Process(target=_provider, args=(tell,))
    provider.start()
    try:
        url = f"http://127.0.0.1:{hear.recv()}/"
        for name in CLIENTS:
            print(json.dumps(uvloop.run(_measure(name, url))))
    finally:
        provider.terminate()
        provider.join()


if __name__ == "__main__":
    main()
