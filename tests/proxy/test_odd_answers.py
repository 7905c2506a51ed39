"""Answers that are not as asked for: with a content encoding, or streams of another type."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd

from ..farm import Farm, post, until, user
from .saying import APIS, Anthropic
from .scripted import EVENTS, JSON, Said, ScriptedProvider
from .test_lifetime import asking
from .test_passing import KEY_JSON

every_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.__name__)
TEXT, GET, END = ("text", "Let me look."), ("get", "r1", "a1b2c3d4e5f6"), ("text", "Done.")


def gzipped() -> Callable[[bytes], bytes]:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return lambda data: (
        packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH if data else zlib.Z_FINISH)
    )


def deflated() -> Callable[[bytes], bytes]:
    packer = zlib.compressobj()
    return lambda data: (
        packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH if data else zlib.Z_FINISH)
    )


def zstandard() -> Callable[[bytes], bytes]:
    packer = zstd.ZstdCompressor()
    flush, end = zstd.ZstdCompressor.FLUSH_BLOCK, zstd.ZstdCompressor.FLUSH_FRAME
    return lambda data: packer.compress(data, flush if data else end)


CODINGS = {"gzip": gzipped, "GZIP": gzipped, "deflate": deflated, "zstd": zstandard}


def coded(said: Said, coding: str) -> Said:
    """Return an answer in a content encoding that its client did not accept."""
    pack = CODINGS[coding]()
    pieces = [pack(piece) for piece in [*said.pieces, b""] if isinstance(piece, bytes)]
    return Said(pieces, said.status, said.kind, {"content-encoding": coding})


def streamed(api: Any, *parts: Any, kind: str = EVENTS) -> Said:
    return Said(api.events(*parts), kind=kind)


@every_api
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_retrieval_is_found_in_an_encoded_answer(
    proxy: Farm, provider: ScriptedProvider, api: Any, coding: str, stream: bool
) -> None:
    say = streamed if stream else lambda api, *parts: api.plain(*parts)
    provider.will_say(coded(say(api, TEXT, GET), coding), coded(say(api, END), coding))
    asked = asking(api, stream=stream, agent=True)
    answer = post(proxy.url, asked, {"x-maas-username": user()}, api.path)
    assert answer.status == 200
    assert len(provider.asked) == 2
    assert "content-encoding" not in answer.headers
    assert b"headroom_retrieve" not in answer.body
    assert b"Done." in answer.body


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_usage_of_an_encoded_answer_is_recorded(
    proxy: Farm, provider: ScriptedProvider, coding: str, stream: bool
) -> None:
    said = streamed(Anthropic, TEXT) if stream else Anthropic.plain(TEXT)
    encoded = coded(said, coding)
    provider.will_say(encoded)
    who = user()
    asked = asking(Anthropic, stream=stream, agent=False)
    answer = post(proxy.url, asked, {"x-maas-username": who}, Anthropic.path)
    assert answer.headers["content-encoding"] == coding
    assert answer.body == b"".join([piece for piece in encoded.pieces if isinstance(piece, bytes)])

    def measured() -> Any:
        return proxy.get(f"/stats?user={who}").json["summary"]["cost"].get("measured_requests")

    until("it is in the books", measured)


@pytest.mark.parametrize(
    "garbage", [b"no gzip", gzip.compress(b"{}")[:-4]], ids=["another", "incomplete"]
)
def test_answer_that_cannot_be_decoded_is_502(
    proxy: Farm, provider: ScriptedProvider, garbage: bytes
) -> None:
    provider.will_say(Said([garbage], kind=JSON, headers={"content-encoding": "gzip"}))
    asked = asking(Anthropic, stream=False, agent=True)
    answer = post(proxy.url, asked, {"x-maas-username": user()}, Anthropic.path)
    assert answer.status == 502


@every_api
@pytest.mark.parametrize("kind", ["Text/Event-Stream", "text/plain", JSON, "x"])
def test_stream_of_another_type_comes_piece_by_piece(
    proxy: Farm, provider: ScriptedProvider, api: Any, kind: str
) -> None:
    go_on = threading.Event()
    first, *rest = api.events(TEXT, GET)
    provider.will_say(
        Said([b"\n", first, go_on.wait, *rest], kind=kind), streamed(api, END, kind=kind)
    )
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    headers = {**KEY_JSON, "x-maas-username": user()}
    asked = asking(api, stream=True, agent=True)
    connection.request("POST", api.path, json.dumps(asked), headers)
    answer = connection.getresponse()
    assert answer.getheader("content-type") == kind
    assert answer.read(1 + len(first)) == b"\n" + first
    go_on.set()
    out = answer.read()
    connection.close()
    assert len(provider.asked) == 2
    assert b"headroom_retrieve" not in out


@every_api
def test_plain_answer_to_a_request_for_a_stream_is_served(
    proxy: Farm, provider: ScriptedProvider, api: Any
) -> None:
    provider.will_say(api.plain(TEXT, GET), api.plain(END))
    asked = asking(api, stream=True, agent=True)
    answer = post(proxy.url, asked, {"x-maas-username": user()}, api.path)
    assert len(provider.asked) == 2
    assert b"headroom_retrieve" not in answer.body
    assert answer.json["usage"]


def test_usage_of_a_stream_of_another_type_is_recorded(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    provider.will_say(streamed(Anthropic, TEXT, kind="text/plain"))
    who = user()
    asked = asking(Anthropic, stream=True, agent=False)
    post(proxy.url, asked, {"x-maas-username": who}, Anthropic.path)

    def measured() -> Any:
        return proxy.get(f"/stats?user={who}").json["summary"]["cost"].get("measured_requests")

    until("it is in the books", measured, 30)
