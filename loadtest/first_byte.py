"""Measures how much the proxy delays the first byte of a streamed answer.

``python -P -m loadtest.first_byte`` plays a growing session of real command output, in Anthropic's
format, against a stand-in provider that answers at once; requests go directly and through a farm,
alternately. Each turn is sent twice: with one fresh block, and again with nothing new. For both it
prints the median time to the first byte in milliseconds, direct and through the farm.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop

from .bench.servers import Servers
from .sessions import growing

_TURNS = 40
_EVENT = b'event: ping\ndata: {"type": "ping"}\n\n'


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request on a connection with a short stream."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
                b"%x\r\n%b\r\n0\r\n\r\n" % (len(_EVENT), _EVENT)
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _provide(tell: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    tell.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _provider(tell: Connection) -> None:
    uvloop.run(_provide(tell))


class Client:
    """One kept connection, and the times to the first byte on it in seconds."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self.times: dict[str, list[float]] = {"fresh block": [], "nothing new": []}

    def ask(self, kind: str, body: bytes) -> None:
        """Send one request and record the time to the answer's first byte."""
        headers = {"content-type": "application/json", "x-api-key": "first-byte"}
        started = time.perf_counter()
        self._connection.request("POST", "/v1/messages", body, headers)
        answer = self._connection.getresponse()
        answer.read(1)
        self.times[kind].append(time.perf_counter() - started)
        if answer.status != 200 or not answer.read():
            raise AssertionError(f"status {answer.status}")

    def p50(self, kind: str) -> float:
        """Return the median in milliseconds."""
        return round(1000 * statistics.median(self.times[kind]), 2)


def measure(provider: str, farm: str, turns: list[Any]) -> list[dict[str, Any]]:
    """Send the turns to both addresses; return a row for each kind of request."""
    clients = {"direct": Client(provider), "farm": Client(farm)}
    for messages in turns:
        body = json.dumps(
            {"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": True, "messages": messages}
        ).encode()
        for kind in ("fresh block", "nothing new"):
            for client in clients.values():
                client.ask(kind, body)
    return [
        {
            "request": kind,
            "direct_ms": clients["direct"].p50(kind),
            "farm_ms": clients["farm"].p50(kind),
            "turns": len(turns),
            "last_body_bytes": len(body),
        }
        for kind in ("fresh block", "nothing new")
    ]


def main() -> None:
    """Start provider and farm, measure, and print a line of JSON for each kind of request."""
    hear, tell = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_provider, args=(tell,))
    process.start()
    try:
        url = f"http://127.0.0.1:{hear.recv()}"
        with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
            farm = servers.farm("farm", settings={"anthropic_target_api_url": url})
            turns = [messages for _, messages in growing(1, _TURNS)]
            for row in measure(url, farm.url, turns):
                print(json.dumps(row))
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
