"""Encoded bodies: accepted, bounded after decoding, refused if broken or unsupported."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable

import pytest

from ..farm import Answer, Farm, post, user
from ..texts import conversation, events, ran
from .conftest import front_end, resident

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "GZip": gzip.compress,
    "identity": bytes,
}


def send(farm: Farm, body: bytes, coding: str, name: str = "") -> Answer:
    return post(farm.url, body, {"content-encoding": coding, "x-maas-username": name or user()})


@pytest.mark.parametrize("coding", ENCODE)
def test_accepts_encoded_body(target: Farm, coding: str) -> None:
    name = user()
    plain = json.dumps(conversation(ran(events(name)))).encode()
    answer = send(target, ENCODE[coding](plain), coding, name)
    assert answer.status == 200, answer.body[:200]
    assert answer.json["messages"] == target.post(plain, name).json["messages"]
    assert answer.json["tokens_saved"] > 0


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_accepts_body_in_several_members(target: Farm, coding: str) -> None:
    plain = json.dumps(conversation(ran(events(user())))).encode()
    body = b"".join(ENCODE[coding](plain[i : i + 7000]) for i in range(0, len(plain), 7000))
    assert send(target, body, coding).json["tokens_saved"] > 0


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_rejects_bomb_in_bounded_memory(target: Farm, coding: str) -> None:
    inside = b'{"messages":[{"role":"user","content":"' + b"a" * (300 << 20) + b'"}]}'
    bomb = ENCODE[coding](inside)
    assert len(bomb) < 1 << 20
    serving = front_end(target)
    before = resident(serving)
    answer = send(target, bomb, coding)
    assert answer.status == 413
    assert answer.json["error"]["type"] == "body_too_large"
    assert resident(serving) < before + (160 << 20)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_rejects_broken_encoding(target: Farm, coding: str) -> None:
    plain = json.dumps(conversation(ran(events()))).encode()
    whole = ENCODE[coding](plain)
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    for body in (plain, whole[:middle], whole[:-1], whole + b"rest", flipped, b"\x00"):
        answer = send(target, body, coding)
        assert answer.status == 400, (coding, body[:20], answer.body[:100])
        assert answer.json["error"]["type"] == "malformed_encoding"


def test_rejects_zstd_window_above_limit(target: Farm) -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(b'{"messages":[]}') + compressor.flush()
    assert send(target, body, "zstd").status == 400


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "utf-8", "*", "gzip;q=1"])
def test_rejects_unknown_encoding(target: Farm, coding: str) -> None:
    answer = send(target, b"{}", coding)
    assert answer.status == 415
    assert answer.json["error"]["type"] == "unsupported_content_encoding"


def test_rejects_empty_encoded_body(target: Farm) -> None:
    for coding, encode in ENCODE.items():
        answer = send(target, encode(b""), coding)
        assert answer.status == 400
        assert answer.json["error"]["type"] == "malformed_json"
