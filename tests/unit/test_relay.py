"""A client's answer from a provider's answers: what is read, and what is only forwarded."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from api.http.request import AnswerCut
from api.provider.answer_stream import Pieces, encode, grown
from api.provider.api_shapes import CHAT, MESSAGES, RESPONSES
from api.provider.usage_in_stream import UsageTap
from api.proxy import relay_answer
from api.proxy.errors import UpstreamFailed
from api.proxy.prepare_request import Outgoing
from api.proxy.relay_answer import Relay

from ..proxy.saying import APIS, Anthropic, Chat, Responses

every_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.__name__)
TEXT, GET = ("text", "Let me look."), ("get", "r1", "a1b2c3d4e5f6")


class Answered:
    """A provider's answer, in the chunks that arrive."""

    status = 200
    is_stream = True
    coded = False

    def __init__(self, chunks: Sequence[bytes], fails: bool = False, length: str = "") -> None:
        self._chunks = chunks
        self._fails = fails
        self._length = length

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._fails:
            raise UpstreamFailed(502, "upstream_cut", "the provider has gone")

    def header(self, name: str) -> str:
        return self._length if name == "content-length" else ""

    def decode(self) -> None: ...

    async def finish(self) -> None: ...

    def close(self) -> None: ...


class Present:
    """A client that stays, but may be left by its front end."""

    gone = False

    def __init__(self, left: bool = False) -> None:
        self.left = left

    def when_gone(self, call: Callable[[], None]) -> None: ...

    async def unless_gone(self, work: Any) -> Any:
        return await work


class Found:
    """Retrievals that find nothing and keep nothing."""

    async def answer(self, user: str, turn: Any) -> tuple[()]:
        return ()

    async def keep(self, *given: Any, **named: Any) -> None: ...


def relay_to(present: Present, *later: Answered, api: Any = Anthropic) -> tuple[Relay, list[str]]:
    """Return a relay whose follow-up requests have these answers, and the failures it counts."""
    shape = {Anthropic: MESSAGES, Chat: CHAT, Responses: RESPONSES}[api]
    provider = "anthropic" if api is Anthropic else "openai"
    failures: list[str] = []
    answers = iter(later)

    async def send(body: bytes) -> Any:
        following = next(answers, None)
        if following is None:
            raise UpstreamFailed(502, "upstream_unreachable", "the provider cannot be reached")
        return following

    body = b'{"%b":[{"role":"user","content":"go"}]}' % api.array.encode()
    found = Found()
    relay = Relay(
        present,  # type: ignore[arg-type]
        Outgoing(body, serves=True),
        found,  # type: ignore[arg-type]
        "u",
        provider,  # type: ignore[arg-type]
        shape,
        send,
        failures.append,
    )
    return relay, failures


def read(chunks: AsyncIterator[bytes]) -> bytes:
    """Return what the client gets, and whether it is cut."""

    async def reading() -> bytes:
        out = b""
        try:
            async for chunk in chunks:
                out += chunk
        except AnswerCut:
            out += b"CUT"
        return out

    return asyncio.run(reading())


def relayed(
    first: Answered, *later: Answered, api: Any = Anthropic
) -> tuple[bytes, list[str], dict[str, Any]]:
    """Return what the client of a stream got, the failures that were counted, and the usage."""
    relay, failures = relay_to(Present(), *later, api=api)
    return read(relay.stream(first)), failures, relay.usage()  # type: ignore[arg-type]


def test_long_stream_is_forwarded_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Anthropic.events(TEXT, GET)
    monkeypatch.setattr(relay_answer, "_ANSWER_BYTES", len(b"".join(events[:3])))
    raw = b"".join(events)
    chunks = [raw[at : at + 37] for at in range(0, len(raw), 37)]
    out, failures, usage = relayed(Answered(chunks))
    assert out == raw
    assert not failures
    assert usage["output_tokens"]


def test_long_stream_with_a_hidden_call_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Anthropic.events(GET, TEXT)
    monkeypatch.setattr(relay_answer, "_ANSWER_BYTES", len(b"".join(events)) - 1)
    out, failures, _ = relayed(Answered(events))
    assert failures == ["upstream_too_large"]
    assert b"headroom_retrieve" not in out


def last_event(out: bytes) -> tuple[bytes, Any]:
    """Return the name and the data of the last event of a stream."""
    name, data = out.removesuffix(b"\n\n").rpartition(b"\n\n")[2].split(b"\n")
    return name.removeprefix(b"event: "), json.loads(data.removeprefix(b"data: "))


@every_api
@pytest.mark.parametrize("gone", ["unreachable", "cut", "refused"])
def test_failed_follow_up_ends_the_stream_with_an_error(api: Any, gone: str) -> None:
    refused = Answered([b'{"type":"error","error":{"message":"busy","code":"c"}}'])
    refused.status = 529
    later = {"unreachable": [], "cut": [Answered([], fails=True)], "refused": [refused]}[gone]
    out, failures, _ = relayed(Answered(api.events(TEXT, GET)), *later, api=api)
    assert failures == {"unreachable": ["upstream_unreachable"], "cut": ["upstream_cut"]}.get(
        gone, []
    )
    name, error = last_event(out)
    assert name == b"error"
    assert error["error"]["message"]
    if api is not Chat:
        assert error["type"] == "error"
    if api is Responses:
        assert error["message"] == error["error"]["message"]
        assert error["code"] == error["error"]["code"]
        numbers = [int(n) for n in re.findall(rb'"sequence_number": ?([0-9]+)', out)]
        assert numbers == list(range(len(numbers)))
        assert error["sequence_number"] == numbers[-1] > 1


@every_api
def test_failure_of_the_first_answer_cuts_the_stream(api: Any) -> None:
    events = api.events(TEXT)[:2]
    out, failures, _ = relayed(Answered(events, fails=True), api=api)
    assert out == b"".join(events) + b"CUT"
    assert failures == ["upstream_cut"]


@pytest.mark.parametrize(
    ("chunk", "length", "ends"),
    [
        (b"data: x\n\n", "", b"data: x\n\nevent: error\n"),
        (b"data: x", "", b"data: xCUT"),
        (b"data: x\n\n", "30", b"data: x\n\nCUT"),
    ],
)
def test_left_client_is_told_where_an_event_can_stand(
    chunk: bytes, length: str, ends: bytes
) -> None:
    relay, failures = relay_to(Present(left=True))
    answer: Any = Answered([chunk], fails=True, length=length)
    out = read(relay.pass_on(answer))
    assert out.startswith(ends)
    assert (b"shutting down" in out) is (b"error" in ends)
    assert not failures


def test_left_client_that_has_it_all_is_told_nothing() -> None:
    events = Anthropic.events(TEXT)
    for part, told in ((events, False), (events[:-1], True)):
        relay, failures = relay_to(Present(left=True))
        answer: Any = Answered(part, fails=True)
        out = read(relay.stream(answer))
        assert out.startswith(b"".join(part))
        assert (b"shutting down" in out) is told
        assert not failures


def test_held_events_stand_before_what_is_left_of_a_stream() -> None:
    events = Anthropic.events(TEXT, GET, ("own", "c1"))[:-1]
    out, _, _ = relayed(Answered([*events, b"data: half"]))
    assert b"message_delta" in out
    assert out.endswith(b"\n\ndata: half")


def test_whole_answer_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_answer, "_ANSWER_BYTES", 10)
    for size, fits in ((10, True), (11, False)):
        relay, _ = relay_to(Present())
        answer: Any = Answered([b"x" * 5, b"x" * (size - 5)])
        if fits:
            assert asyncio.run(relay.whole(answer)) == (answer, b"x" * size)
        else:
            with pytest.raises(UpstreamFailed):
                asyncio.run(relay.whole(answer))


def test_text_of_deltas_is_joined_only_when_it_is_written() -> None:
    block: dict[str, Any] = {"type": "text", "text": "", "name": "x"}
    for text in ("some ", "words", "!"):
        grown(block, {"type": "text_delta", "text": text, "name": None}, leave=("type",))
    assert isinstance(block["text"], Pieces)  # joined each time, it would be quadratic
    assert encode(block) == b'{"type":"text","text":"some words!","name":"x"}'


def test_usage_after_an_event_that_is_too_large_is_read() -> None:
    tap = UsageTap(stream=True)
    for _ in range(17):
        tap.feed(b"x" * (1 << 20))
    tap.feed(b'\n\ndata: {"usage": {"output_tokens": 7}}\n')
    tap.feed(b"\n")
    assert tap.close() == {"output_tokens": 7}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_usage_is_read_however_the_stream_is_cut(newline: bytes, size: int) -> None:
    raw = (
        b'event: a\ndata: {"usage": {"a": 1}}\n\n: c\n\ndata: {"message": {"usage": {"b": 2}}}\n\n'
    )
    raw = (raw + b"data: [DONE]").replace(b"\n", newline)
    tap = UsageTap(stream=True)
    for at in range(0, len(raw), size):
        tap.feed(raw[at : at + size])
    assert tap.close() == {"a": 1, "b": 2}
