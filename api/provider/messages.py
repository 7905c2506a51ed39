"""Anthropic's Messages API: https://docs.anthropic.com/en/api/messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from shared.upstream import RETRIEVAL_TOOL, retrieval_hash, retrieval_tool

from .body import Body, Unreadable, array_items, array_with
from .protocol import UNIQUE, Exchange, Retrieval, Round, ToolResult, Turn, in_place_order
from .usage import add_usage

_encode = msgspec.json.Encoder().encode
_TOOL = _encode(retrieval_tool("anthropic"))
_NO_TOOLS = b'{"type":"none"}'
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Block(msgspec.Struct):
    """A content block. Fields of other types than the API's make it unreadable."""

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


class Messages:
    """Messages: an assistant message's blocks, and results first in the user message after it."""

    name = "anthropic"
    array = "messages"

    def offers(self, body: bytes | Body) -> bool:
        """Return whether a request offers a tool that retrieves originals."""
        return offers_tool(Body.of(body), lambda tool: tool.get("name"))

    def can_offer(self, body: bytes | Body) -> bool:
        """Return whether the farm may offer its tool: always, unless ``tools`` is no list."""
        Body.of(body).items("tools")
        return True

    def offer(self, body: bytes) -> bytes:
        """Return the request with the retrieval tool after its own."""
        return add_tool(Body(body), _TOOL)

    def read(self, answer: bytes) -> Turn:
        """Parse an answer."""
        try:
            found = _answer.decode(answer)
        except _UNREADABLE:
            raise Unreadable("the answer is no message") from None
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

    def follow_up(
        self, body: bytes, turn: Turn, results: Sequence[ToolResult], *, last: bool = False
    ) -> bytes:
        """Return the request that continues ``turn``."""
        request = Body(body)
        request.items("messages")
        more = _messages_of(turn.said, results)
        fields = {"messages": array_with(request.field("messages"), *more)}
        if last:
            fields["tool_choice"] = _NO_TOOLS
        return request.replaced(fields)

    def merge(self, answer: bytes, turns: Sequence[Turn]) -> bytes:
        """Return the last ``answer`` as the client gets it."""
        turn = self.read(answer)
        shown = [raw for said in [*turns, turn] for raw in _shown(said.said)]
        fields = {"content": b"[" + b",".join(shown) + b"]"}
        if turn.usage is not None and turns:
            fields["usage"] = _encode(usage_of([*turns, turn]))
        if turn.retrievals and not turn.own_calls and turn.ended:
            fields["stop_reason"] = b'"end_turn"'
        return Body(answer).replaced(fields)

    def marks(self, said: bytes) -> tuple[str, ...]:
        """Return what tells the visible blocks: a call's id, a signature, else its bytes."""
        return tuple(_mark(raw) for raw in _shown(said))

    def put_back(self, body: bytes, exchanges: Sequence[Exchange]) -> bytes:
        """Return a client's later request with the exchanges in their places."""
        request = Body(body)
        messages = request.items("messages")
        changed = False
        for exchange in in_place_order(exchanges):
            put = _put_back(messages, exchange)
            if put is not None:
                messages, changed = put, True
        if not changed:
            return body
        return request.replaced({"messages": b"[" + b",".join(messages) + b"]"})


def usage_of(turns: Sequence[Turn]) -> dict[str, Any]:
    """Return what several answers used together.

    ``iterations`` lists them one by one, as the API does where it makes several itself: clients
    take the last for the length of their context.
    """
    steps: list[Any] = []
    for usage in [turn.usage or {} for turn in turns]:
        steps += usage.get("iterations") or [{"type": "message", **usage}]
    return {**add_usage([turn.usage for turn in turns]), "iterations": steps}


def offers_tool(body: Body, name_of: Any) -> bool:
    """Return whether one of the request's tools is headroom's, also under an MCP server's name."""
    tools = body.field("tools")
    if RETRIEVAL_TOOL.encode() not in tools:
        return False
    try:
        named = [name_of(t) for t in msgspec.json.decode(tools) if isinstance(t, dict)]
    except (*_UNREADABLE, TypeError):
        raise Unreadable("'tools' is no list") from None
    return any(isinstance(name, str) and name.endswith(RETRIEVAL_TOOL) for name in named)


def add_tool(body: Body, tool: bytes) -> bytes:
    """Return the request with ``tool`` after its own tools."""
    if not body.items("tools"):
        return body.replaced({"tools": b"[%b]" % tool})
    return body.replaced({"tools": array_with(body.field("tools"), tool)})


def _read_block(raw: bytes) -> _Block:
    try:
        return _block.decode(raw)
    except _UNREADABLE:
        raise Unreadable("a content block cannot be read") from None


def _is_ours(block: _Block) -> bool:
    return block.type == "tool_use" and block.name == RETRIEVAL_TOOL


def _retrieval(block: _Block) -> Retrieval:
    call = {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
    return Retrieval(block.id, retrieval_hash(call, "anthropic") or "")


def _shown(said: bytes) -> list[bytes]:
    return [raw for raw in array_items(said) if not _is_ours(_read_block(raw))]


def _mark(raw: bytes) -> str:
    """Return what tells a block, whatever cache mark its client puts on it."""
    block = _read_block(raw)
    unique = block.id or block.signature or block.data or block.tool_use_id
    told = unique or (raw.decode("utf-8", "replace") if block.text is None else block.text)
    kind = UNIQUE if unique else "text:"
    return f"{kind}{block.type}:{blake2b(told.encode(), digest_size=12).hexdigest()}"


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


def _put_back(messages: list[bytes], exchange: Exchange) -> list[bytes] | None:
    """Return the messages with the exchange in its place, None where it has none."""
    hidden = [_mark(raw) for r in exchange.rounds for raw in _shown(bytes(r.said))]
    if exchange.mixed:
        hidden = hidden[: len(hidden) - len(exchange.answer)]
    for index in exchange.places(len(messages)):
        raw = messages[index]
        if b"assistant" not in raw:
            continue
        rest = _rest_of(raw, hidden, exchange.answer)
        if rest is None:
            continue
        before, after = messages[:index], messages[index + 1 :]
        closed = exchange.rounds[:-1] if exchange.mixed else exchange.rounds
        said = [m for r in closed for m in _messages_of(bytes(r.said), r.results)]
        if exchange.mixed:
            mixed = _with_calls(raw, rest, exchange.rounds[-1], after)
            return None if mixed is None else [*before, *said, *mixed]
        final = [_with_content(raw, b"[" + b",".join(rest) + b"]")] if rest else []
        return [*before, *said, *final, *after]
    return None


def _content_of(raw: bytes) -> tuple[str, list[bytes]]:
    message = _message.decode(raw)
    content = bytes(message.content)
    if content.startswith(b'"'):
        content = b'[{"type":"text","text":%b}]' % content
    return message.role, array_items(content)


def _rest_of(raw: bytes, hidden: list[str], answer: tuple[str, ...]) -> list[bytes] | None:
    """Return the blocks of the turn's last answer in a client's message; None: it is another.

    A client may leave blocks of the earlier rounds out (old thinking), but add none.
    """
    try:
        role, blocks = _content_of(raw)
        marks = [_mark(block) for block in blocks]
    except (*_UNREADABLE, Unreadable):
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
    return blocks[first:]


def _with_calls(raw: bytes, rest: list[bytes], last: Round, after: list[bytes]) -> Any:
    """Return the assistant's message with its retrieval calls, and those after it with results."""
    if not after:
        return None
    try:
        role, answers = _content_of(after[0])
    except (*_UNREADABLE, Unreadable):
        return None
    if role != "user":
        return None
    remaining = list(rest)
    content = []
    for block in array_items(bytes(last.said)):
        if _is_ours(_read_block(block)):
            content.append(block)
            continue
        mark = _mark(block)
        if remaining and _mark(remaining[0]) == mark:
            content.append(remaining.pop(0))
    said = _with_content(raw, b"[" + b",".join([*content, *remaining]) + b"]")
    heard = b"[" + b",".join([*_results(last.results), *answers]) + b"]"
    return [said, _with_content(after[0], heard), *after[1:]]


def _with_content(raw: bytes, content: bytes) -> bytes:
    return Body(raw).replaced({"content": content})
