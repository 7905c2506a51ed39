"""Whole sessions of Claude Code and Codex, with the farm as proxy for the scripted provider."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from loadtest.bill.prompt_cache import bill_of, without_marks

from ..farm import Farm
from ..texts import events
from .clients import CLIENTS, Client
from .saying import RETRIEVE, Part
from .scripted import Asked, Said, ScriptedProvider

_HASH = re.compile(r"(?:<<ccr:|hash=)([0-9a-f]{12,24})")
_PROMPT = "Find out what failed in the build."
_LOGS = {name: events(name, 220) for name in ("build", "test", "deploy")}


@pytest.fixture(params=CLIENTS, ids=[kind.name for kind in CLIENTS])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """A client in a folder with three logs."""
    for name, text in _LOGS.items():
        (tmp_path / f"{name}.log").write_text(text)
    kind: type[Client] = request.param
    return kind(tmp_path)


def script(client: Client, steps: list[list[Part]]) -> Callable[[Asked], Said]:
    """Answer requests with tools with one step after another, other requests with a text.

    ``("get", id)`` retrieves the last marker's original.
    """
    left = list(steps)

    def answer(asked: Asked) -> Said:
        body = asked.json if asked.path.split("?")[0] == client.api.path else {}
        if not body.get("tools") or not left:
            return Said(client.api.events(("text", "All done.")))
        parts = left.pop(0)
        if any(part[0] == "get" for part in parts):
            marker = _HASH.findall(json.dumps(body[client.api.array]))[-1]
            parts = [(*part, marker) if part[0] == "get" else part for part in parts]
        return Said(client.api.events(("think", "Hm."), *parts))

    return answer


def session(
    client: Client,
    provider: ScriptedProvider,
    url: str,
    steps: list[list[Part]],
    *,
    again: bool = False,
) -> list[Any]:
    """Run a scripted session of the client; return the requests of the conversation itself."""
    provider.will_say(*[script(client, steps)] * 50)
    assert "All done." in client.says(_PROMPT, url, again=again)
    calls = [a.json for a in provider.asked if a.path.split("?")[0] == client.api.path]
    return [body for body in calls if body.get("tools")]


def names(tools: list[dict[str, Any]]) -> list[Any]:
    return [tool.get("name") for tool in tools]


def test_session_ends_well_with_its_retrieval_inside(
    proxy: Farm, provider: ScriptedProvider, client: Client
) -> None:
    lines = ["cat build.log", "echo one", "echo two"]
    steps = [[client.runs(line, str(number))] for number, line in enumerate(lines)]
    calls = session(client, provider, proxy.url, [steps[0], [("get", "r1")], *steps[1:]])
    assert len(calls) == 5
    tools = [names(body["tools"]) for body in calls]
    assert tools[0][-1] == RETRIEVE
    assert tools == [tools[0]] * 5
    items = [without_marks(body[client.api.array]) for body in calls]
    assert _LOGS["build"] not in json.dumps(items[1])
    assert json.dumps(_LOGS["build"])[1:-1] in json.dumps(items[2][-1])
    for before, after in pairwise(items):
        assert after[: len(before)] == before


def test_session_costs_less_than_sent_directly(
    proxy: Farm,
    provider: ScriptedProvider,
    client: Client,
    record_property: Callable[[str, object], None],
) -> None:
    """The farm's bill includes a retrieval: a whole log, and an additional request."""
    lines = ["cat build.log", "cat test.log", "echo one", "cat deploy.log", "echo two"]
    steps = [[client.runs(line, str(number))] for number, line in enumerate(lines)]
    direct = session(client, provider, provider.url, steps)
    farm = session(client, provider, proxy.url, [*steps[:2], [("get", "r1")], *steps[2:]])
    assert (len(direct), len(farm)) == (6, 7)
    bills = [bill_of(bodies, client.model).cost for bodies in (direct, farm)]
    record_property("change", f"{client.name} {100 * (bills[1] / bills[0] - 1):+.1f} %")
    assert bills[1] < bills[0]


def test_session_goes_on_well_without_the_proxy(
    proxy: Farm, provider: ScriptedProvider, client: Client
) -> None:
    """The farm answered two retrievals, one next to a call of the client, which saw neither."""
    steps: list[list[Part]] = [
        [client.runs("cat build.log", "0")],
        [("get", "r1")],
        [("get", "r2"), client.runs("cat test.log", "1")],
    ]
    through = session(client, provider, proxy.url, steps)
    assert RETRIEVE in json.dumps(through[-1][client.api.array])
    direct = session(client, provider, provider.url, [[client.runs("echo", "2")]], again=True)
    assert len(direct) == 2
    for body in direct:
        assert RETRIEVE not in json.dumps(body)
        for name in ("build", "test"):
            assert json.dumps(_LOGS[name])[1:-1] in json.dumps(body[client.api.array])
    back = session(client, provider, proxy.url, [[client.runs("echo", "3")]], again=True)
    assert len(back) == 2


def test_session_ended_beside_a_retrieval_goes_on_without_proxy(
    proxy: Farm, provider: ScriptedProvider, client: Client
) -> None:
    """The farm has a result to add to a request that never comes."""
    steps: list[list[Part]] = [
        [client.runs("cat build.log", "0")],
        [("get", "r1"), client.runs("cat test.log", "1")],
    ]
    answer = script(client, steps)
    last, over = threading.Event(), threading.Event()

    def held(asked: Asked) -> Said:
        if RETRIEVE in json.dumps(asked.json.get(client.api.array)):
            last.set()
            return Said([over.wait])
        return answer(asked)

    provider.will_say(*[held] * 50)
    started = client.starts(_PROMPT, proxy.url)
    assert last.wait(60)
    client.end(started, signal.SIGTERM)
    started.communicate()
    over.set()
    direct = session(client, provider, provider.url, [[client.runs("echo", "2")]], again=True)
    assert len(direct) == 2
    assert RETRIEVE not in json.dumps(direct)
    assert json.dumps(_LOGS["test"])[1:-1] in json.dumps(direct[0][client.api.array])
