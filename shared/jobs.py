"""Messages between front ends and workers: blocks, their forms, and the RQ job around them.

Jobs have RQ's layout (hash, queue, JSON data), so RQ's own tools show them; they are written by
one script instead of 60 commands. Data is JSON and never pickle: a client that can write to
Redis must not be able to run code, and workers run only :data:`FUNCTION`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec

FUNCTION = "workers.tasks.compress_blocks"
"""The only function a worker runs, by the name that RQ stores. Workers of all versions know this
one, wherever the code stands."""

Shape = Literal["string", "tool_result", "text"]
"""Where a text was: a message's string content, a tool_result block, a text block."""


def is_tool_output(shape: Shape, role: str) -> bool:
    """Return whether a text of this shape, in a message of this role, is a tool's output."""
    return shape == "tool_result" or role in ("tool", "function")


def engines_of(transforms: Iterable[str]) -> tuple[str, ...]:
    """Return the engines named in headroom's ``transforms``, without duplicates."""
    names: dict[str, None] = {}
    for transform in transforms:
        parts = transform.split(":")
        if parts[0] == "router" and len(parts) > 1 and parts[1] not in ("protected", "excluded"):
            inner = len(parts) > 2 and parts[1] in ("tool_result", "text_block", "bash")
            names[parts[2] if inner else parts[1]] = None
        elif parts[0] == "read_lifecycle":
            names[parts[0]] = None
    return tuple(names)


BlockOutcome = Literal["compressed", "unchanged", "failed", "refused", "unstored", "quarantined"]
"""The outcome of a block."""


class ToolCall(msgspec.Struct, frozen=True, array_like=True):
    """The call that a tool output answers, in the terms of headroom's router."""

    name: str
    args: str = ""
    command: str = ""


class Block(msgspec.Struct, frozen=True):
    """One text to compress. ``key`` names text, surroundings, options and engine version.

    ``reversible_only`` forbids markers: the caller cannot redeem them, or the block is too small
    for one. ``without`` are the engines that may not be used.
    """

    key: str
    text: str
    shape: Shape
    role: str
    call: ToolCall | None = None
    reversible_only: bool = False
    without: tuple[str, ...] = ()


class Options(msgspec.Struct, frozen=True, array_like=True):
    """The request's options that engines need.

    ``press`` divides the minimum size of a text that may lose lines.
    """

    marker_mode: str = "ccr"
    target_ratio: float | None = None
    code_aware: bool = False
    model: str = "default"
    press: int = 1


class Job(msgspec.Struct, frozen=True):
    """A few blocks of one request for one pool.

    ``user`` is the user's tag; ``context`` is the user's question, by which some engines score;
    ``trace`` is the request's W3C ``traceparent``, empty if it had none; ``wait_ms`` is how long
    the job may wait in the queue before its caller is gone, by the clock of the queues' Redis
    (-1: not known). ``expires`` is for workers of earlier versions, which compared it with their
    own clock: it is later than any time.
    """

    user: str
    reply: str
    options: Options
    context: str
    request_id: str
    blocks: list[Block]
    trace: str = ""
    wait_ms: int = -1
    expires: float = 32_503_680_000.0


class Original(msgspec.Struct, frozen=True):
    """A CCR original under the hash its marker carries."""

    hash: str
    content: str
    tokens: int = 0
    items: int = 0
    compressed_items: int = 0
    tool_name: str | None = None
    strategy: str | None = None


class Form(msgspec.Struct, frozen=True):
    """The result of a block. ``text`` is None if the original stays.

    ``shown`` are the hashes in its text, ``stored`` all hashes stored in Redis for it.
    ``outcome`` is ``compressed``, ``unchanged``, ``failed``, ``refused`` (its pool was full),
    ``unstored`` (the user's state was unavailable) or ``quarantined`` (it killed workers); the
    last stays in the session cache. ``lossy`` means that its text lacks something of the original.
    If a result failed the check, ``unfaithful`` names its engine, the reason and the line.
    """

    text: str | None
    transforms: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    outcome: BlockOutcome = "unchanged"
    engine_ms: float = 0.0
    unfaithful: str = ""
    lossy: bool = False


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """One finished block on its way back to a front end."""

    user: str
    key: str
    form: bytes


class EngineStatus(NamedTuple):
    """A worker's text engine: name, provider, graph, and why a faster one is not in use."""

    engine: str
    provider: str
    graph: str
    reason: str


_json = msgspec.json.Encoder()
_pack = msgspec.msgpack.Encoder()
_form = msgspec.msgpack.Decoder(Form)
_reply = msgspec.msgpack.Decoder(Reply)
_status = msgspec.msgpack.Decoder(EngineStatus)
_original = msgspec.msgpack.Decoder(Original)


def job_data(job: Job) -> bytes:
    """Return the job as RQ's data: the JSON array ``[function, instance, args, kwargs]``."""
    return _json.encode([FUNCTION, None, [job], {}])


def read_job(kwargs: dict[str, Any]) -> Job:
    """Return the job that RQ decoded from JSON; raises ``msgspec.ValidationError``."""
    return msgspec.convert(kwargs, Job)


def pack_form(form: Form) -> bytes:
    """Return the form as stored in the session cache (MessagePack)."""
    return _pack.encode(form)


def unpack_form(data: bytes) -> Form:
    """Read a form; raises ``msgspec.DecodeError`` on foreign bytes."""
    return _form.decode(data)


def pack_reply(reply: Reply) -> bytes:
    """Return the reply as sent to a front end's list (MessagePack)."""
    return _pack.encode(reply)


def unpack_reply(data: bytes) -> Reply:
    """Read a reply; raises ``msgspec.DecodeError`` on foreign bytes."""
    return _reply.decode(data)


def pack_original(original: Original) -> bytes:
    """Return the original as stored under its key (MessagePack)."""
    return _pack.encode(original)


def unpack_original(data: bytes) -> Original:
    """Read an original; raises ``msgspec.DecodeError`` on foreign bytes."""
    return _original.decode(data)


def pack_status(status: EngineStatus) -> bytes:
    """Return the status as a worker publishes it (MessagePack)."""
    return _pack.encode(status)


def unpack_status(data: bytes) -> EngineStatus:
    """Read a status; raises ``msgspec.DecodeError`` on foreign bytes."""
    return _status.decode(data)
