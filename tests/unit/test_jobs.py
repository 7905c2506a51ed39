"""The encoding of jobs and results in Redis."""

from __future__ import annotations

import json

import msgspec
import pytest

from shared.jobs import (
    FUNCTION,
    Block,
    Form,
    Job,
    Options,
    Original,
    Reply,
    ToolCall,
    job_data,
    pack_form,
    pack_original,
    pack_reply,
    read_job,
    unpack_form,
    unpack_original,
    unpack_reply,
)

BLOCK = Block(
    "key",
    "text with \x00 and 文件",
    "tool_result",
    "user",
    ToolCall("Bash", "ls", "ls"),
)


def test_encodes_job_as_rq_job_data() -> None:
    job = Job("tag", "farm:replies:x", Options("ccr", 0.5), "why?", "id", [BLOCK] * 3, wait_ms=15)
    function, instance, args, kwargs = json.loads(job_data(job))
    assert (function, instance, kwargs) == (FUNCTION, None, {})
    assert read_job(args[0]) == job


def test_rejects_foreign_job() -> None:
    with pytest.raises(msgspec.ValidationError):
        read_job({"user": 1})


def test_forms_replies_and_originals_round_trip() -> None:
    form = Form("text", ("a",), ("h",), ("h", "i"), "compressed", 1.5)
    assert unpack_form(pack_form(form)) == form
    reply = Reply("tag", "key", pack_form(form))
    assert unpack_reply(pack_reply(reply)) == reply
    original = Original("h", "content", 3)
    assert unpack_original(pack_original(original)) == original


@pytest.mark.parametrize("read", [unpack_form, unpack_reply, unpack_original])
def test_foreign_bytes_raise_decode_error(read: object) -> None:
    for data in (b"", b"\x80\x04pickle", b'{"text": "x"}'):
        with pytest.raises(msgspec.DecodeError):
            read(data)  # type: ignore[operator]
