"""Anthropic's Messages API: https://docs.anthropic.com/en/api/messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shared.headroom import RETRIEVAL_TOOL, retrieval_hash, retrieval_tool

from .billed_usage import add_usage
from .body import Body, Unreadable, array_items, array_of, array_with, parse
from .provider_interface import (
    UNIQUE,
    Exchange,
    Provider,
    Retrieval,
    Round,
    ToolResult,
    Turn,
    mark_digest,
)

_encode = msgspec.json.Encoder().encode


class _Block(msgspec.Struct):
    """A content block; it is unreadable if a field does not have the API's type."""

    type: str
    id: str = ""
    name: str = ""
    text: str | None = None
    signature: str | None = None
    data: str | None = None
    input: Any = None
    tool_use_id: str = ""


class _Answer(msgspec.Struct):
    content: msgspec.Raw
    id: str = ""
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw


_block = msgspec.json.Decoder(_Block)
_answer = msgspec.json.Decoder(_Answer)
_message = msgspec.json.Decoder(_Message)


class Messages(Provider):
    """Messages: calls are blocks of the assistant message; the next user message starts with the
    results."""

    name = "anthropic"
    array = "messages"
    tool = _encode(retrieval_tool("anthropic"))
    no_tools = b'{"type":"none"}'

    def read(self, answer: bytes) -> Turn:
        """Parse an answer."""
        found = parse(_answer, answer, "the answer is not a message")
        blocks = [_read_block(raw) for raw in array_items(bytes(found.content))]
        calls = [block for block in blocks if block.type == "tool_use"]
        return Turn(
            said=bytes(found.content),
            retrievals=tuple(_retrieval(block) for block in calls if _is_ours(block)),
            own_calls=sum(not _is_ours(block) for block in calls),
            ended=found.stop_reason in ("tool_use", None),
            usage=found.usage,
            id=found.id,
        )

    def merge(self, answer: bytes, turns: Sequence[Turn]) -> bytes:
        """Return the last ``answer`` as sent to the client."""
        turn = self.read(answer)
        shown = [raw for said in [*turns, turn] for raw in _shown(said.said)]
        fields = {"content": array_of(shown)}
        if turn.usage is not None and turns:
            fields["usage"] = _encode(usage_of([*turns, turn]))
        if turn.retrievals and not turn.own_calls and turn.ended:
            fields["stop_reason"] = b'"end_turn"'
        return Body(answer).replaced(fields)

    def marks(self, said: bytes) -> tuple[str, ...]:
        """Return what identifies each visible block: a call's id, a signature, or its bytes."""
        return tuple(_mark(raw) for raw in _shown(said))

    def _continued(self, request: Body, turn: Turn, results: Sequence[ToolResult]) -> bytes:
        return array_with(request.field("messages"), *_messages_of(turn.said, results))

    def _put_back(
        self, items: list[bytes], exchange: Exchange, request: Body, beginning: str
    ) -> list[bytes] | None:
        hidden = [_mark(raw) for r in exchange.rounds for raw in _shown(bytes(r.said))]
        if exchange.mixed:
            hidden = hidden[: len(hidden) - len(exchange.answer)]
        for index in exchange.places(len(items), [*hidden, *exchange.answer]):
            raw = items[index]
            if b"assistant" not in raw:
                continue
            found = _rest_of(raw, hidden, exchange.answer)
            if found is None or not exchange.is_at(index, found[1], beginning):
                continue
            rest = found[0]
            before, after = items[:index], items[index + 1 :]
            closed = exchange.rounds[:-1] if exchange.mixed else exchange.rounds
            said = [m for r in closed for m in _messages_of(bytes(r.said), r.results)]
            if exchange.mixed:
                mixed = _with_calls(raw, rest, exchange.rounds[-1], after)
                return None if mixed is None else [*before, *said, *mixed]
            final = [_with_content(raw, rest)] if rest else []
            return [*before, *said, *final, *after]
        return None


def usage_of(turns: Sequence[Turn]) -> dict[str, Any]:
    """Return the total usage of several answers.

    ``iterations`` lists them individually, as the API does for iterations of its own: clients take
    the length of their context from the last one.
    """
    steps: list[Any] = []
    for usage in [turn.usage or {} for turn in turns]:
        steps += usage.get("iterations") or [{"type": "message", **usage}]
    return {**add_usage([turn.usage for turn in turns]), "iterations": steps}


def _read_block(raw: bytes) -> _Block:
    return parse(_block, raw, "a content block cannot be read")


def _is_ours(block: _Block) -> bool:
    return block.type == "tool_use" and block.name == RETRIEVAL_TOOL


def _retrieval(block: _Block) -> Retrieval:
    call = {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
    return Retrieval(block.id, retrieval_hash(call, "anthropic") or "")


def _shown(said: bytes) -> list[bytes]:
    return [raw for raw in array_items(said) if not _is_ours(_read_block(raw))]


def _mark(raw: bytes) -> str:
    """Return what identifies a block, independent of its cache mark."""
    block = _read_block(raw)
    unique = block.id or block.signature or block.data or block.tool_use_id
    told = unique or (raw.decode("utf-8", "replace") if block.text is None else block.text)
    kind = UNIQUE if unique else "text:"
    return f"{kind}{block.type}:{mark_digest(told)}"


def _results(results: Iterable[ToolResult]) -> list[bytes]:
    written = []
    for result in results:
        block = {"type": "tool_result", "tool_use_id": result.id, "content": result.text}
        written.append(_encode({**block, "is_error": True} if result.failed else block))
    return written


def _messages_of(said: bytes, results: Iterable[ToolResult]) -> tuple[bytes, bytes]:
    answers = b",".join(_results(results))
    return (
        b'{"role":"assistant","content":%b}' % said,
        b'{"role":"user","content":[%b]}' % answers,
    )


def _content_of(raw: bytes) -> tuple[str, list[bytes]]:
    message = parse(_message, raw, "a message cannot be read")
    content = bytes(message.content)
    if content.startswith(b'"'):
        content = b'[{"type":"text","text":%b}]' % content
    return message.role, array_items(content)


def _rest_of(
    raw: bytes, hidden: list[str], answer: tuple[str, ...]
) -> tuple[list[bytes], list[str]] | None:
    """Return the blocks of the turn's last answer in a client's message; None: no match.

    The second value are the marks of all blocks.

    A client may omit blocks of the earlier rounds (old thinking), but not add any.
    """
    try:
        role, blocks = _content_of(raw)
        marks = [_mark(block) for block in blocks]
    except Unreadable:
        return None
    if role != "assistant":
        return None
    first = 0
    for mark in hidden:
        if first < len(marks) and marks[first] == mark:
            first += 1
    kept = marks[first:]
    expected = [mark for mark in answer if mark in kept]
    if kept != expected or (answer and not kept) or (not answer and not first):
        return None
    return blocks[first:], marks


def _with_calls(
    raw: bytes, rest: list[bytes], last: Round, after: list[bytes]
) -> list[bytes] | None:
    """Return the assistant's message with its retrieval calls, and the results after it."""
    if not after:
        return None
    try:
        role, answers = _content_of(after[0])
    except Unreadable:
        return None
    if role != "user":
        return None
    remaining = list(rest)
    content = []
    for block in array_items(bytes(last.said)):
        if _is_ours(_read_block(block)):
            content.append(block)
            continue
        if remaining and _mark(remaining[0]) == _mark(block):
            content.append(remaining.pop(0))
    heard = [*_results(last.results), *answers]
    return [
        _with_content(raw, content),
        _with_content(after[0], heard),
        *after[1:],
    ]


def _with_content(raw: bytes, content: Iterable[bytes]) -> bytes:
    return Body(raw).replaced({"content": array_of(content)})
