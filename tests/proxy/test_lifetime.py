"""Streams during drains, faults and high concurrency: each ends properly and leaks nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from loadtest.hostile_streams import held, play
from loadtest.stand_in import own_process

from ..farm import Farm, post, until, user
from ..texts import events
from .saying import APIS, Anthropic, Chat, Responses
from .scripted import EVENTS, Said, ScriptedProvider, whole
from .test_passing import BODY, EVENT, KEY, KEY_JSON, turns

_STREAMS = 200


def opened(farm: Farm) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Open a stream and return it when its first event has arrived."""
    connection = http.client.HTTPConnection("127.0.0.1", farm.port, timeout=180)
    connection.request("POST", "/v1/messages", json.dumps(BODY), KEY_JSON)
    answer = connection.getresponse()
    assert answer.read(len(EVENT)) == EVENT
    return connection, answer


def open_streams(farm: Farm) -> int:
    """Return the gauge of open streams."""
    text = farm.get("/metrics").body.decode()
    found = re.search(r"^headroom_proxy_open_streams (\d+)", text, re.M)
    assert found
    return int(found[1])


def asking(api: Any, *, stream: bool, agent: bool) -> dict[str, Any]:
    """Return a request; an ``agent`` has so many tools that the farm's own is offered, too."""
    request: dict[str, Any] = {"model": "m", api.array: [{"role": "user", "content": "Hello"}]}
    request["stream"] = stream
    if agent:
        tool = {"name": "Bash", "description": "x" * 3000}
        request["tools"] = [
            {**tool, "input_schema": {"type": "object"}}
            if api is Anthropic
            else {"type": "function", **({"function": tool} if api is Chat else tool)}
        ]
        request |= {"store": False} if api is Responses else {}
    return request


@pytest.fixture
def front_end(own_farm: Any, provider: ScriptedProvider) -> Any:
    """Start a farm of Redis and a front end; return the farm and the front end's process."""

    def start(**settings: Any) -> Any:
        urls = ("anthropic_target_api_url", "openai_target_api_url")
        farm = own_farm(**dict.fromkeys(urls, provider.url), **settings)
        farm.start_redis()
        return farm, farm.start_api()

    return start


def test_stream_is_finished_by_a_draining_front_end(
    front_end: Any, provider: ScriptedProvider
) -> None:
    farm, process = front_end(deadline_ms=500)
    go_on = threading.Event()
    provider.will_say(Said([EVENT, go_on.wait, EVENT, EVENT]))
    connection, answer = opened(farm)
    process.signal(signal.SIGTERM)
    until("the front end no longer listens", lambda: farm.answer("/health") is None)
    go_on.set()
    assert answer.read() == EVENT + EVENT
    connection.close()
    assert process.wait() == 0


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.__name__)
@pytest.mark.parametrize("watched", [False, True], ids=["forwarded", "watched"])
def test_stream_longer_than_drain_ends_with_an_error(
    front_end: Any, provider: ScriptedProvider, api: Any, watched: bool
) -> None:
    farm, process = front_end(deadline_ms=100, stream_drain_seconds=0)
    begun = b"".join(api.events(("text", "Let me look."))[:3])
    go_on = threading.Event()
    provider.will_say(Said([begun, go_on.wait, begun]))
    request = asking(api, stream=True, agent=watched)
    connection = http.client.HTTPConnection("127.0.0.1", farm.port, timeout=180)
    connection.request("POST", api.path, json.dumps(request), KEY_JSON)
    answer = connection.getresponse()
    assert answer.read(len(begun)) == begun
    assert (b"headroom_retrieve" in provider.asked[0].body) == watched
    process.signal(signal.SIGTERM)
    name, data = answer.read().removesuffix(b"\n\n").split(b"\n")
    assert name == b"event: error"
    error = json.loads(data.removeprefix(b"data: "))
    assert "shutting down" in error["error"]["message"]
    if api is Responses:
        assert error["type"] == "error"
        assert error["sequence_number"] == 3
    go_on.set()
    connection.close()
    assert process.wait() == 0
    assert "upstream_failed" not in farm.logs()


@pytest.mark.parametrize("kind", ["half an event", "not a stream"])
def test_answer_longer_than_drain_is_cut(
    front_end: Any, provider: ScriptedProvider, kind: str
) -> None:
    farm, process = front_end(deadline_ms=100, stream_drain_seconds=0)
    go_on = threading.Event()
    half = kind == "half an event"
    type_ = EVENTS if half else "application/json"
    provider.will_say(Said([EVENT, EVENT[:9] if half else EVENT, go_on.wait, EVENT], kind=type_))
    connection, answer = opened(farm)
    process.signal(signal.SIGTERM)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    go_on.set()
    connection.close()
    assert process.wait() == 0


def test_call_longer_than_drain_is_503(front_end: Any, provider: ScriptedProvider) -> None:
    farm, process = front_end(deadline_ms=100, stream_drain_seconds=0)
    go_on = threading.Event()

    def late(asked: Any) -> Said:
        go_on.wait()
        return whole({})

    provider.will_say(late)
    connection = http.client.HTTPConnection("127.0.0.1", farm.port, timeout=180)
    connection.request("POST", "/v1/messages", json.dumps(BODY), KEY_JSON)
    until("the provider was asked", lambda: provider.asked)
    process.signal(signal.SIGTERM)
    answer = connection.getresponse()
    assert answer.status == 503
    assert json.loads(answer.read())["error"]["type"] == "overloaded_error"
    go_on.set()
    connection.close()
    assert process.wait() == 0


def test_requests_pass_unchanged_without_redis(front_end: Any, provider: ScriptedProvider) -> None:
    farm, process = front_end()
    provider.will_say(*[whole({"ok": n}) for n in range(2)])
    raw = json.dumps(turns(events())).encode()
    answer = post(farm.url, raw, KEY, "/v1/messages")  # no worker is there
    assert answer.status == 200
    assert provider.asked[0].body == raw
    farm.parts[0].kill()
    answer = post(farm.url, json.dumps(turns(events("b"))).encode(), KEY, "/v1/messages")
    assert answer.json == {"ok": 1}
    assert provider.asked[1].json == turns(events("b"))
    assert process.alive


def test_many_concurrent_streams_are_closed(proxy: Farm, provider: ScriptedProvider) -> None:
    go_on = threading.Event()
    provider.will_say(*[Said([EVENT, go_on.wait, EVENT]) for _ in range(_STREAMS)])
    with ExitStack() as stack:
        stack.callback(go_on.set)
        answers = []
        for _ in range(_STREAMS):
            connection, answer = opened(proxy)
            stack.callback(connection.close)
            answers.append(answer)
        until("all are open", lambda: open_streams(proxy) == _STREAMS)
        go_on.set()
        assert [answer.read() for answer in answers] == [EVENT] * _STREAMS
    until("no stream is open", lambda: open_streams(proxy) == 0)


def test_disconnected_clients_leak_nothing(proxy: Farm, provider: ScriptedProvider) -> None:
    at_first = _descriptors(proxy)

    def endless() -> Iterator[Any]:
        yield EVENT
        while True:
            threading.Event().wait(0.01)
            yield EVENT

    provider.will_say(*[Said(endless()) for _ in range(_STREAMS)])
    for _ in range(_STREAMS):
        connection, _ = opened(proxy)
        connection.close()
    until("no stream is open", lambda: open_streams(proxy) == 0)
    until("its connections are closed", lambda: _descriptors(proxy) <= at_first + 8)
    provider.will_say(whole({"ok": True}))
    assert post(proxy.url, BODY, KEY, "/v1/messages").status == 200


def _descriptors(farm: Farm) -> int:
    """Return how many files and connections the front end has open."""
    front_end = next(part for part in farm.parts if part.log.name.startswith("api"))
    return len(os.listdir(f"/proc/{front_end.children()[0]}/fd"))


def test_answers_failures_and_retrievals_are_counted(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    def count(name: str) -> float:
        text = proxy.get("/metrics").body.decode()
        found = re.search(rf"^headroom_proxy_{re.escape(name)} (\S+)", text, re.M)
        return float(found[1]) if found else 0

    names = (
        'answers_total{provider="anthropic",status="2xx"}',
        'answers_total{provider="anthropic",status="4xx"}',
        'failures_total{kind="upstream_cut",provider="anthropic"}',
        'retrievals_total{outcome="failed"}',
        "added_seconds_count",
    )
    before = [count(name) for name in names]
    text = events(user())
    get = ("get", "r1", "0123456789ab")
    provider.will_say(
        Anthropic.plain(get),
        Anthropic.plain(("text", "x")),
        whole({}, 429),
        Said([EVENT], cut=True),
    )
    post(proxy.url, turns(text), KEY, "/v1/messages")
    post(proxy.url, BODY, KEY, "/v1/messages")
    with pytest.raises(http.client.IncompleteRead):
        post(proxy.url, BODY, KEY, "/v1/messages")
    grown = [count(name) - was for name, was in zip(names, before, strict=True)]
    assert grown == [2, 1, 1, 1, 3]
    report = proxy.get("/stats/farm").json["proxy"]
    assert report["answers"]["anthropic:2xx"] == count(names[0])
    assert report["failures"]["anthropic:upstream_cut"] == count(names[2])
    assert report["added"]["p50_ms"] > 0


def test_hostile_streams_leave_nothing_behind(own_farm: Any) -> None:
    with own_process() as url:
        farm = own_farm(anthropic_target_api_url=url)
        farm.start_redis()
        pid = farm.start_api().children()[0]
        play(farm.url, 66, 1)  # opens what is kept: connections to Redis, first sessions
        until("the first are gone", lambda: held(farm.url, pid).streams == 0)
        before = held(farm.url, pid)
        play(farm.url, 220, 2)
        until("no stream is open", lambda: held(farm.url, pid).streams == 0)
        until("no client is connected", lambda: held(farm.url, pid).clients <= 1)
        until("its tasks are done", lambda: held(farm.url, pid).tasks <= before.tasks + 8)
        said = "".join([log.read_text() for log in farm.directory.glob("api*.log")])
        assert "Unhandled" not in said  # a client that leaves is no defect
