"""A large body counts towards the budget as long as it, or the answer made of it, is held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.app import create_app
from api.endpoints.compress import CompressResource
from api.pipeline.compressor import CompressionResult
from api.pipeline.options import RequestOptions
from api.pipeline.result import untouched
from api.pipeline.split import split
from shared.settings import Settings

MEGABYTE = 1 << 20
BUDGET = 8 * MEGABYTE
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 2 * MEGABYTE + b'"}]}'


class Client:
    """One ASGI request to ``/v1/compress`` whose answer is read when ``reads`` is set."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.started = asyncio.Event()
        self._given = False

    @property
    def scope(self) -> dict[str, Any]:
        headers = [(b"content-type", b"application/json"), (b"host", b"farm")]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/compress",
            "query_string": b"",
            "headers": [*headers, (b"content-length", str(len(BODY)).encode())],
        }

    async def receive(self) -> dict[str, Any]:
        if self._given:
            await asyncio.Event().wait()
        self._given = True
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(self, event: dict[str, Any]) -> None:
        self.started.set()
        await self.reads.wait()


class Served:
    """The application, with an answer that is ready when ``answers`` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = create_app(Settings(bodies_bytes=BUDGET))
        self.answers = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

        async def answer(
            resource: CompressResource, req: Any, body: bytes, *more: Any
        ) -> CompressionResult:
            self.begun.set()
            await self.answers.wait()
            asyncio.get_running_loop().call_soon(self.ended.set)
            return untouched(split(body, ()), RequestOptions("m"), 1, "bypass")

        monkeypatch.setattr(CompressResource, "_answer", answer)

    @property
    def left(self) -> int:
        found = self.app._router.find("/v1/compress")
        assert found is not None
        room: int = found[0]._intake._room
        return room


Scenario = Callable[[Served, Client, "asyncio.Task[None]"], Any]


def play(monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> None:
    async def run() -> None:
        served, client = Served(monkeypatch), Client()
        call = asyncio.create_task(served.app(client.scope, client.receive, client.send))
        async with asyncio.timeout(60):
            await served.begun.wait()
            assert served.left < BUDGET - 2 * MEGABYTE
            await scenario(served, client, call)
        assert served.left == BUDGET

    asyncio.run(run())


def test_abandoned_body_counts_until_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(served: Served, client: Client, call: asyncio.Task[None]) -> None:
        call.cancel()
        await asyncio.wait([call])
        assert served.left < BUDGET
        served.answers.set()
        await served.ended.wait()
        await asyncio.sleep(0)  # the task's callbacks

    play(monkeypatch, scenario)


def test_body_counts_until_its_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(served: Served, client: Client, call: asyncio.Task[None]) -> None:
        served.answers.set()
        await client.started.wait()
        assert served.left < BUDGET
        client.reads.set()
        await call

    play(monkeypatch, scenario)
