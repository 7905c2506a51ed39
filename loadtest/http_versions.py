"""Measures HTTP/2 against HTTP/1.1 for the proxy's streams, over TLS on loopback.

    pip install hypercorn 'httpx[http2]'
    python -P -m loadtest.http_versions

Hypercorn plays the provider in a process of its own. For each client it prints one line of JSON:
the median time to the first byte on an open connection and this process's CPU time per event, with
one stream and with 50 at once, each of 1000 events of 180 bytes; then, with 50 streams of an event
every 20 ms, how late events are read (median and 99th percentile) and the CPU time per event.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import uvloop

from deploy.ports import free_port

_EVENTS, _PACED, _PAUSE = 1000, 100, 0.02
_ROUNDS, _AT_ONCE = 20, 50
_PAD = b"x" * 140
Read = Callable[[str], AsyncIterator[bytes]]


def _event() -> bytes:
    return b'data: {"sent": %17.6f, "pad": "%b"}\n\n' % (time.monotonic(), _PAD)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Stream events: as fast as they are taken, or below ``/paced`` one every 20 ms."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    paced = scope["path"] == "/paced"
    head = {"type": "http.response.start", "status": 200}
    await send({**head, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(_PACED if paced else _EVENTS):
        await send({"type": "http.response.body", "body": _event(), "more_body": True})
        await asyncio.sleep(_PAUSE if paced else 0)
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def _aiohttp(ca: str) -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=ca))
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def read(url: str) -> AsyncIterator[bytes]:
            async with session.post(url, data=b"{}") as answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

        yield read


def _httpx(version: int) -> Callable[[str], AbstractAsyncContextManager[Read]]:
    @asynccontextmanager
    async def client(ca: str) -> AsyncIterator[Read]:
        limits = httpx.Limits(max_connections=None)
        context = ssl.create_default_context(cafile=ca)
        async with httpx.AsyncClient(
            limits=limits, timeout=60, verify=context, http2=version == 2
        ) as one:

            async def read(url: str) -> AsyncIterator[bytes]:
                async with one.stream("POST", url, content=b"{}") as answer:
                    if answer.http_version != ("HTTP/2" if version == 2 else "HTTP/1.1"):
                        raise AssertionError(answer.http_version)
                    async for chunk in answer.aiter_raw():
                        yield chunk

            yield read

    return client


CLIENTS: dict[str, Callable[[str], AbstractAsyncContextManager[Read]]] = {
    "aiohttp, HTTP/1.1": _aiohttp,
    "httpx, HTTP/1.1": _httpx(1),
    "httpx, HTTP/2": _httpx(2),
}


async def _first(read: Read, url: str) -> float:
    """Read a whole stream; return the seconds to its first byte."""
    started, first, size = time.perf_counter(), 0.0, 0
    async for chunk in read(url):
        first = first or time.perf_counter() - started
        size += len(chunk)
    if size != _EVENTS * len(_event()):
        raise AssertionError(f"{size} bytes were read")
    return first


async def _late(read: Read, url: str) -> list[float]:
    """Return by how many seconds each event of a stream is read after it was written."""
    late, rest = [], b""
    async for chunk in read(url):
        now = time.monotonic()
        *whole, rest = (rest + chunk).split(b"\n\n")
        late += [now - json.loads(one.removeprefix(b"data: "))["sent"] for one in whole]
    return late


async def _measure(name: str, url: str, ca: str) -> dict[str, Any]:
    async with CLIENTS[name](ca) as read:
        await asyncio.gather(*[_first(read, url) for _ in range(_AT_ONCE)])
        began = time.process_time()
        firsts = [await _first(read, url) for _ in range(_ROUNDS)]
        alone = time.process_time() - began
        began = time.process_time()
        together_firsts = await asyncio.gather(*[_first(read, url) for _ in range(_AT_ONCE)])
        together = time.process_time() - began
        began = time.process_time()
        paced = await asyncio.gather(*[_late(read, f"{url}paced") for _ in range(_AT_ONCE)])
        slow = time.process_time() - began
    late = sorted(one for stream in paced for one in stream)
    return {
        "client": name,
        "first_byte_p50_ms": round(1000 * statistics.median(firsts), 2),
        "first_byte_of_50_p50_ms": round(1000 * statistics.median(together_firsts), 2),
        "us_per_event_alone": round(1e6 * alone / (_ROUNDS * _EVENTS), 1),
        "us_per_event_50_at_once": round(1e6 * together / (_AT_ONCE * _EVENTS), 1),
        "late_p50_ms": round(1000 * late[len(late) // 2], 2),
        "late_p99_ms": round(1000 * late[len(late) * 99 // 100], 2),
        "us_per_paced_event": round(1e6 * slow / len(late), 1),
    }


@contextmanager
def _provider(folder: Path) -> Iterator[tuple[str, str]]:
    """Start Hypercorn; yield its URL and the file with its certificate."""
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    named = ["-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*made, *named, *names, *files], check=True, capture_output=True)
    port = free_port()
    line = [
        sys.executable,
        "-m",
        "hypercorn",
        "-k",
        "uvloop",
        "--keep-alive",
        "300",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    line += ["--certfile", certificate, "--keyfile", key, "loadtest.http_versions:app"]
    server = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        context = ssl.create_default_context(cafile=certificate)
        give_up = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"https://localhost:{port}/paced", verify=context)
                break
            except httpx.ConnectError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
        yield f"https://localhost:{port}/", certificate
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Print one line of JSON for each client."""
    with tempfile.TemporaryDirectory() as folder, _provider(Path(folder)) as (url, ca):
        for name in CLIENTS:
            print(json.dumps(uvloop.run(_measure(name, url, ca))), flush=True)


if __name__ == "__main__":
    main()
