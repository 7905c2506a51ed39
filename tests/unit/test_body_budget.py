"""A large body counts towards the budget as long as it or its answer is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from api.accounting.usage_recording import AnswerBook
from api.app import create_app
from api.http.request import Intake
from api.pipeline.compression_result import untouched
from api.pipeline.compressor import CompressionResult, Compressor
from api.pipeline.request_options import RequestOptions
from api.pipeline.split_body import split
from api.proxy.errors import UpstreamFailed
from api.proxy.upstream_client import UpstreamClient
from shared.settings import Settings

MEGABYTE = 1 << 20
BUDGET = 8 * MEGABYTE
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 2 * MEGABYTE + b'"}]}'


LARGE = ("/v1/compress", "/v1/messages")


class Client:
    """One ASGI request whose answer is read when ``reads`` is set."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reads = asyncio.Event()
        self.started = asyncio.Event()
        self._given = False
        self.status = 0

    @property
    def scope(self) -> dict[str, Any]:
        headers = [(b"content-type", b"application/json"), (b"host", b"farm")]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": "POST",
            "path": self.path,
            "query_string": b"",
            "headers": [*headers, (b"content-length", str(len(BODY)).encode())],
        }

    async def receive(self) -> dict[str, Any]:
        if self._given:
            await asyncio.Event().wait()
        self._given = True
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(self, event: dict[str, Any]) -> None:
        self.status = event.get("status", self.status)
        self.started.set()
        await self.reads.wait()


class Served:
    """The application, with a result that is ready when ``answers`` is set.

    Background work continues until ``finishes`` is set. The provider does not answer.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings: Any = {"bodies_bytes": BUDGET, "anthropic_target_api_url": "http://127.0.0.1:9"}
        self.app = create_app(Settings(**settings))
        self.answers = asyncio.Event()
        self.finishes = asyncio.Event()
        self.begun = asyncio.Event()
        self.behind: asyncio.Task[None]
        self.task: asyncio.Task[Any] | None = None
        self._intake: Intake
        read = Intake.body

        async def body(intake: Intake, req: Any) -> Any:
            self._intake = intake
            return await read(intake, req)

        async def compress(*given: Any, **more: Any) -> CompressionResult:
            self.task = asyncio.current_task()
            self.begun.set()
            await self.answers.wait()
            result = untouched(split(BODY, ()), RequestOptions("m"), 1, "policy_audit")
            work: Any = asyncio.create_task(self._finish())
            self.behind = result.behind = work
            return result

        async def send(*given: Any) -> Any:
            raise UpstreamFailed(502, "unreachable", "nobody is there")

        monkeypatch.setattr(Intake, "body", body)
        monkeypatch.setattr(Compressor, "compress", compress)
        monkeypatch.setattr(UpstreamClient, "send", send)
        monkeypatch.setattr(AnswerBook, "record", lambda *given: None)

    async def _finish(self) -> None:
        await self.finishes.wait()

    @property
    def left(self) -> int:
        return self._intake._free_bytes


Scenario = Callable[[Served, Client, "asyncio.Task[None]"], Any]


def play(monkeypatch: pytest.MonkeyPatch, path: str, scenario: Scenario) -> None:
    async def run() -> None:
        served, client = Served(monkeypatch), Client(path)
        call = asyncio.create_task(served.app(client.scope, client.receive, client.send))
        async with asyncio.timeout(60):
            await served.begun.wait()
            assert served.left < BUDGET - 2 * MEGABYTE
            await scenario(served, client, call)
            served.finishes.set()
            await asyncio.wait([call, served.behind])
            await asyncio.sleep(0)  # the task's callbacks
        assert served.left == BUDGET

    asyncio.run(run())


both = pytest.mark.parametrize("path", ["/v1/compress", "/v1/messages"])


@both
def test_abandoned_body_counts_until_answered(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    async def scenario(served: Served, client: Client, call: asyncio.Task[None]) -> None:
        call.cancel()
        await asyncio.wait([call])
        assert served.left < BUDGET
        served.answers.set()
        assert served.task is not None
        await served.task
        assert served.left < BUDGET

    play(monkeypatch, path, scenario)


@both
def test_body_counts_until_its_answer_is_read(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    async def scenario(served: Served, client: Client, call: asyncio.Task[None]) -> None:
        served.answers.set()
        await client.started.wait()
        served.finishes.set()
        await served.behind
        await asyncio.sleep(0)
        assert served.left < BUDGET
        client.reads.set()

    play(monkeypatch, path, scenario)


@both
def test_body_counts_until_work_behind_ends(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    async def scenario(served: Served, client: Client, call: asyncio.Task[None]) -> None:
        served.answers.set()
        client.reads.set()
        await call
        assert served.left < BUDGET

    play(monkeypatch, path, scenario)


@pytest.mark.parametrize("first", LARGE)
def test_endpoints_share_one_budget(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Two bodies fill the budget; whichever endpoint took them, no other takes a third."""
    monkeypatch.setattr(f"{__name__}.BUDGET", 5 * MEGABYTE)

    async def run() -> None:
        served = Served(monkeypatch)
        clients, calls = [Client(first), Client(first)], []
        for client in clients:
            call = served.app(client.scope, client.receive, client.send)
            calls.append(asyncio.create_task(call))
            await served.begun.wait()
            served.begun.clear()
        for path in (*LARGE, "/v1/compress/response"):
            client = Client(path)
            client.reads.set()
            await served.app(client.scope, client.receive, client.send)
            assert client.status == 503, path
        served.answers.set()
        served.finishes.set()
        for client in clients:
            client.reads.set()
        await asyncio.gather(*calls)

    asyncio.run(asyncio.wait_for(run(), 60))
