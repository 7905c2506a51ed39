"""The data kept about a message, so that it is read only once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import msgspec

from shared.errors import UNREADABLE_JSON, InvalidField, MalformedBody
from shared.headroom import Counter, analysis_intent, tool_calls, user_query
from shared.jobs import Shape, ToolCall

HEAVY_MESSAGE_BYTES = 64 * 1024
"""Larger messages, in bytes, are read in a child process (:mod:`api.pipeline.offload`): the worst
texts found take 1 to 2.5 µs per character, so smaller ones take at most a tenth of a second."""


class Place(NamedTuple):
    """The position of a text in a message: its content block, and its part of a tool result.

    ``block`` is None for a string content, ``part`` None if a block's text is a string.
    """

    block: int | None
    part: int | None


Allowed = Literal["stay", "fold", "reversible", "engine"]
"""The changes allowed to a text, from fewest to most: none; references to equal earlier lines; a
reversible form of an engine; any form of an engine."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text of a message that may be sent shorter. The text itself is not kept.

    ``call_id`` is the tool call it answers, empty if it answers none. The policy excludes the
    engines ``without``, and says whether the text may refer to earlier text (``fold``).
    """

    key: str
    place: Place
    shape: Shape
    role: str
    call_id: str
    call: ToolCall | None
    pool: str
    may: Allowed
    transforms: tuple[str, ...]
    without: tuple[str, ...] = ()
    fold: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a message: the texts that may be compressed, and why others may not."""

    candidates: tuple[Candidate, ...] = ()
    transforms: tuple[str, ...] = ()


VERBATIM = Plan()
"""The plan of a message that is sent unchanged."""


@dataclass(slots=True)
class Message:
    """The facts of one raw message. ``size`` is in bytes.

    ``calls`` are the tool calls it makes, ``answers`` the ids of the calls whose results it has;
    ``query`` and ``analysis`` are headroom's interpretation of a user message (None elsewhere).
    ``unread`` says why none of this is known: the message was ``refused`` as too heavy, or there
    was no ``time`` for it, in which case the next turn tries again.
    """

    digest: bytes
    size: int
    role: str
    calls: dict[str, ToolCall]
    answers: tuple[str, ...]
    query: str
    analysis: bool | None
    tokens: dict[str, int]
    plan: Plan = VERBATIM
    plan_key: object = None
    unread: Literal["", "time", "refused"] = ""


def unread(name: bytes, size: int, counter: Counter, why: Literal["time", "refused"]) -> Message:
    """Return the data of a message that is not read: it is sent unchanged."""
    return Message(name, size, "", {}, (), "", None, {counter.id: size // 4}, unread=why)


class Seen(NamedTuple):
    """One message of a body: its facts, and the cache marks it carries.

    ``chain`` identifies the conversation up to and including this message, without marks. ``marks``
    are the bytes and offsets of its ``cache_control`` marks, empty if it has none; two raw messages
    of equal facts differ in nothing else.
    """

    facts: Message
    chain: bytes
    marks: bytes


def started(session_id: str) -> bytes:
    """Return the initial chain of a conversation of this session; empty without a session id."""
    if not session_id:
        return b""
    return blake2b(session_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def chained(chain: bytes, name: bytes) -> bytes:
    """Return the chain extended by the message of digest ``name`` (16 bytes)."""
    return blake2b(chain + name, digest_size=16).digest()


_any = msgspec.json.Decoder()


def digest(raw: bytes) -> bytes:
    """Return the digest that names a raw message without its marks (16 bytes)."""
    return blake2b(raw, digest_size=16).digest()


def decode(raw: bytes) -> dict[str, Any]:
    """Decode one raw message.

    Raises:
        MalformedBody: it is not valid JSON (splitting does not check the content of strings).
        InvalidField: it is not an object.
    """
    try:
        message = _any.decode(raw)
    except UNREADABLE_JSON:
        message = _decode_leniently(raw)
    if not isinstance(message, dict):
        raise InvalidField("every message must be an object")
    return as_chat(message) if "role" not in message else message


_OUTPUTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")


def as_chat(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of OpenAI's Responses as the equivalent chat message.

    Calls and their outputs are converted; other items are returned as they are, and so are not
    compressed.
    """
    kind = item.get("type")
    if kind in _OUTPUTS:
        output = item.get("output")
        if isinstance(output, list):
            output = [
                {"type": "text", "text": part["text"]}
                if isinstance(part, dict) and part.get("type") == "input_text"
                else part
                for part in output
            ]
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
    if kind in ("function_call", "custom_tool_call"):
        name, arguments = item.get("name"), item.get("arguments", item.get("input"))
    elif kind == "local_shell_call":
        name, arguments = "shell", json.dumps(item.get("action"))
    else:
        return item
    function = {"name": name, "arguments": arguments}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _decode_leniently(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError:
        raise MalformedBody("the body is not valid JSON") from None


def read(raw: bytes, name: bytes) -> tuple[Message, dict[str, Any]]:
    """Read the facts of a message never seen before; also return it decoded."""
    message = decode(raw)
    role = message.get("role")
    role = role if isinstance(role, str) else ""
    is_user = role == "user"
    makes_calls = role == "assistant" and _well_formed_calls(message)
    return (
        Message(
            digest=name,
            size=len(raw),
            role=role,
            calls=tool_calls(message) if makes_calls else {},
            answers=_answered(message),
            query=user_query(message) if is_user else "",
            analysis=analysis_intent(message) if is_user else None,
            tokens={},
        ),
        message,
    )


def count(facts: Message, message: dict[str, Any], counter: Counter) -> int:
    """Return and store the message's tokens; size/4 for a message that headroom cannot count."""
    known = facts.tokens.get(counter.id)
    if known is None:
        known = facts.tokens[counter.id] = count_message(message, counter, facts.size)
    return known


def count_message(message: dict[str, Any], counter: Counter, size: int) -> int:
    """Count a message's tokens; size/4 for unusual shapes that headroom's counter rejects."""
    try:
        return counter.message(message)
    except (TypeError, AttributeError, ValueError, KeyError, RecursionError):
        return size // 4


def _well_formed_calls(message: dict[str, Any]) -> bool:
    """Return whether headroom can read the message's calls (it trusts their types)."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        return False
    functions = [c.get("function", {}) for c in calls if isinstance(c, dict)]
    if not all(isinstance(f, dict) for f in functions):
        return False
    content = message.get("content")
    used = content if isinstance(content, list) else []
    named = [c for c in [*calls, *used] if isinstance(c, dict)]
    return all(_plain(c.get("id")) and _plain(c.get("name")) for c in named) and all(
        _plain(f.get("name")) for f in functions
    )


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str)


def _answered(message: dict[str, Any]) -> tuple[str, ...]:
    """Return the ids of the tool calls whose results this message contains."""
    found = [message.get("tool_call_id"), message.get("tool_use_id")]
    content = message.get("content")
    if isinstance(content, list):
        found += [block.get("tool_use_id") for block in content if isinstance(block, dict)]
    return tuple(i for i in found if isinstance(i, str) and i)
