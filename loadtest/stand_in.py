"""A stand-in for a model provider on loopback; each request selects the behaviour it plays.

The header ``x-play`` names the play and its numbers, ``text 20`` if there is none. Answers are
streams as Anthropic's Messages API has them; ``x-body`` in their head is the digest of the body
that arrived, so that a client sees whether it was changed on the way.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import blake2b
from multiprocessing.connection import Connection
from typing import Any

import uvloop

PLAY, BODY = "x-play", "x-body"
_BACKLOG = 4096
_NOISE_BYTES = 20_000
_REASONS = {429: "Too Many Requests", 500: "Internal Server Error", 529: "Overloaded"}
_STREAM = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def digest(body: bytes) -> str:
    """Return the value of ``x-body`` for a body."""
    return blake2b(body, digest_size=16).hexdigest()


def event(data: dict[str, Any]) -> bytes:
    """Return one event of a stream."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
_USAGE = {"input_tokens": 9, "output_tokens": 1}
BEGIN = event(
    {
        "type": "message_start",
        "message": {**_MESSAGE, "content": [], "stop_reason": None, "usage": _USAGE},
    }
) + event(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
)
END = b"".join(
    [
        event({"type": "content_block_stop", "index": 0}),
        event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 9},
            }
        ),
        event({"type": "message_stop"}),
    ]
)
BROKEN = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


def delta(text: str) -> bytes:
    """Return the event of a piece of text."""
    said = {"type": "text_delta", "text": text}
    return event({"type": "content_block_delta", "index": 0, "delta": said})


def error_of(status: int) -> bytes:
    """Return the body of a refusal."""
    error = {"type": "api_error", "message": f"refused with {status}"}
    return json.dumps({"type": "error", "error": error}).encode()


def text(count: int) -> bytes:
    """Return the whole stream of the play ``text``."""
    return BEGIN + b"".join([_piece(number) for number in range(count)]) + END


def _piece(number: int) -> bytes:
    return delta(f"piece {number:5d} of an answer, as long as a line is, or so... ")


def noise() -> bytes:
    """Return bytes that are neither HTTP nor events."""
    return random.Random(7).randbytes(_NOISE_BYTES)


class _Answer:
    """Writes one answer; ``head`` begins a stream."""

    def __init__(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        self._writer = writer
        self._body = body

    def head(self, status: int = 200, rest: bytes = _STREAM) -> None:
        said = f"HTTP/1.1 {status} {_REASONS.get(status, 'OK')}\r\n{BODY}: {digest(self._body)}\r\n"
        self._writer.write(said.encode() + rest + b"\r\n")

    async def write(self, data: bytes) -> None:
        """Write a piece of the stream after the previous pieces have been sent."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")

    def raw(self, data: bytes) -> None:
        self._writer.write(data)


async def _text(answer: _Answer, count: int = 20, pause_ms: int = 0) -> bool:
    answer.head()
    await answer.write(BEGIN)
    for number in range(count):
        await answer.write(_piece(number))
        await asyncio.sleep(pause_ms / 1000)
    await answer.write(END)
    answer.end()
    return True


async def _paced(answer: _Answer, count: int = 50, pause_ms: int = 20) -> bool:
    """Each piece holds the time of writing, by ``time.monotonic()``, which all processes share."""
    answer.head()
    await answer.write(BEGIN)
    for _ in range(count):
        await answer.write(delta(repr(time.monotonic())))
        await asyncio.sleep(pause_ms / 1000)
    await answer.write(END)
    answer.end()
    return True


async def _late(answer: _Answer, wait_ms: int = 1000) -> bool:
    await asyncio.sleep(wait_ms / 1000)
    return await _text(answer)


async def _stall(answer: _Answer) -> bool:
    answer.head()
    await answer.write(BEGIN)
    await asyncio.Event().wait()
    return False


async def _silent(answer: _Answer) -> bool:
    await asyncio.Event().wait()
    return False


async def _cut(answer: _Answer) -> bool:
    answer.head()
    await answer.write(BEGIN)
    return False


async def _half(answer: _Answer) -> bool:
    answer.head()
    await answer.write(BEGIN + delta("half")[:30])
    return False


async def _refuse(answer: _Answer, status: int = 500) -> bool:
    said = error_of(status)
    kind = b"content-type: application/json\r\nretry-after: 1\r\ncontent-length: %d\r\n"
    answer.head(status, kind % len(said))
    answer.raw(said)
    return True


async def _broken(answer: _Answer) -> bool:
    answer.head()
    for piece in (BEGIN, delta("so far"), BROKEN):
        await answer.write(piece)
    answer.end()
    return True


async def _noise(answer: _Answer) -> bool:
    answer.raw(noise())
    return False


async def _noise_events(answer: _Answer) -> bool:
    answer.head()
    await answer.write(noise())
    answer.end()
    return True


async def _huge(answer: _Answer, megabytes: int = 24) -> bool:
    answer.head()
    for _ in range(megabytes):
        await answer.write(b"x" * 2**20)
    answer.end()
    return True


PLAYS: dict[str, Callable[..., Awaitable[bool]]] = {
    "text": _text,
    "paced": _paced,
    "late": _late,
    "stall": _stall,
    "silent": _silent,
    "cut": _cut,
    "half": _half,
    "refuse": _refuse,
    "broken": _broken,
    "noise": _noise,
    "noise-events": _noise_events,
    "huge": _huge,
}
"""Plays by name; each returns whether its connection can serve another request."""


class StandIn:
    """Serves connections; ``playing`` counts the answers in progress."""

    def __init__(self) -> None:
        self.playing = 0
        self._connections: set[asyncio.StreamWriter] = set()

    def drop(self) -> None:
        """Cut all connections."""
        for writer in self._connections:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        self._connections.add(writer)
        try:
            begun: bytes | None = b""
            while begun is not None:
                begun = await self._answer(reader, writer, begun)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: bytes
    ) -> bytes | None:
        """Answer one request; return the received start of the next, None if there is no next."""
        head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = [line.partition(":") for line in head.split("\r\n")[1:]]
        named = {name.lower(): value.strip() for name, _, value in lines}
        body = await reader.readexactly(int(named.get("content-length") or 0))
        name, *numbers = (named.get(PLAY) or "text").split()
        play = asyncio.ensure_future(PLAYS[name](_Answer(writer, body), *map(int, numbers)))
        more = asyncio.ensure_future(reader.read(1))  # nothing comes meanwhile, unless the end
        self.playing += 1
        try:
            await asyncio.wait((play, more), return_when=asyncio.FIRST_COMPLETED)
            if not play.done() or not play.result():
                return None
            return more.result() or None if more.done() else b""
        finally:
            self.playing -= 1
            for task in (play, more):
                task.cancel()
            await asyncio.gather(play, more, return_exceptions=True)


@asynccontextmanager
async def listening(stand_in: StandIn, port: int = 0) -> AsyncIterator[str]:
    """Serve in this loop; yield the URL."""
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", port, backlog=_BACKLOG)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@contextmanager
def own_process() -> Iterator[str]:
    """Serve in a separate process; yield the URL."""
    hear, tell = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(tell,))
    process.start()
    try:
        yield str(hear.recv())
    finally:
        process.terminate()
        process.join()


def _run(tell: Connection) -> None:
    async def serve() -> None:
        async with listening(StandIn()) as url:
            tell.send(url)
            await asyncio.Event().wait()

    uvloop.run(serve())
