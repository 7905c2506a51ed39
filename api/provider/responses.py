"""OpenAI's Responses API: https://platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

import re
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
    ToolResult,
    Turn,
    in_place_order,
    mark_digest,
    text_of,
)

_encode = msgspec.json.Encoder().encode
_STORED = ("previous_response_id", "conversation", "prompt")
"""Fields that refer to content which the provider has stored."""
_CALL = re.compile(rb'"type"\s*:\s*"[a-z_]+_call"')
"""The type of a call's item: within a string the quotes would be escaped."""
_SERVED_BY_PROVIDER = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "tool_search_call",
    }
)


class _Item(msgspec.Struct):
    type: str = "message"
    id: str | None = None
    call_id: str | None = None
    execution: str | None = None
    name: str = ""
    arguments: Any = ""
    content: Any = None
    encrypted_content: str | None = None


class _Answer(msgspec.Struct):
    output: msgspec.Raw
    id: str = ""
    status: str = "completed"
    usage: dict[str, Any] | None = None


_item = msgspec.json.Decoder(_Item)
_answer = msgspec.json.Decoder(_Answer)


class Responses(Provider):
    """Responses: one flat list of items, in which a call and its output are two items."""

    name = "openai"
    array = "input"
    tool = _encode(retrieval_tool("openai_responses"))
    no_tools = b'"none"'

    def can_offer(self, body: bytes | Body) -> bool:
        """Return whether the farm may offer its tool.

        It may only if the request has the whole conversation as a list. A stored answer with a
        retrieval call could be continued by its id, without the farm or after the exchange has
        expired, and the provider would refuse it then for good: so either the provider stores
        nothing, or the client repeats the model's calls itself, as one does that needs no ids.
        """
        request = Body.of(body)
        request.list_of("tools")
        return (
            request.field("input").startswith(b"[")
            and request.field("background") != b"true"
            and all(request.field(name) in (b"", b"null") for name in _STORED)
            and (not self.stores(request) or _CALL.search(request.field("input")) is not None)
        )

    def stores(self, body: Body) -> bool:
        """Return whether the provider stores the answer, so that its id may continue it."""
        return body.field("store") != b"false"

    def continued_id(self, body: Body) -> str:
        """Return the id of the stored answer that the request continues, empty if it does not."""
        found = body.get("previous_response_id")
        return found if isinstance(found, str) else ""

    def read(self, answer: bytes) -> Turn:
        """Parse an answer."""
        found = parse(_answer, answer, "the answer is not a response")
        items = [_read_item(raw) for raw in array_items(bytes(found.output))]
        ours = [item for item in items if _is_ours(item)]
        return Turn(
            said=bytes(found.output),
            retrievals=tuple(_retrieval(item) for item in ours),
            own_calls=_own_calls(items),
            ended=found.status == "completed",
            usage=found.usage,
            id=found.id,
        )

    def merge(self, answer: bytes, turns: Sequence[Turn]) -> bytes:
        """Return the last ``answer`` as sent to the client, with the first answer's id."""
        turn = self.read(answer)
        shown = [raw for said in [*turns, turn] for raw in _shown(said.said)]
        fields = {"output": array_of(shown)}
        if turns:
            fields["id"] = _encode(turns[0].id)
        if turn.usage is not None and turns:
            fields["usage"] = _encode(add_usage([t.usage for t in [*turns, turn]]))
        return Body(answer).replaced(fields)

    def marks(self, said: bytes) -> tuple[str, ...]:
        """Return what identifies each visible item: a call's id, reasoning content, or text."""
        return tuple(_mark(raw) for raw in _shown(said))

    def _continued(self, request: Body, turn: Turn, results: Sequence[ToolResult]) -> bytes:
        more = [*_repeatable(turn.said, request), *_results(results)]
        return array_with(request.field("input"), *more)

    def put_back(self, body: bytes, exchanges: Sequence[Exchange], beginning: str = "") -> bytes:
        """Insert the exchanges into a client's later request at their places."""
        request = Body(body)
        if not request.field("input").startswith(b"["):
            return body
        items = request.items("input")
        before = request.get("previous_response_id")
        fields: dict[str, bytes] = {}
        changed = False
        for exchange in in_place_order(exchanges):
            if before is not None and exchange.id == before:
                fields["previous_response_id"] = _encode(exchange.last_id)
                if exchange.mixed:
                    items, changed = [*_results(exchange.rounds[-1].results), *items], True
                continue
            put = self._put_back(items, exchange, request, beginning)
            if put is not None:
                items, changed = put, True
        if changed:
            fields["input"] = array_of(items)
        return request.replaced(fields) if fields else body

    def _put_back(
        self, items: list[bytes], exchange: Exchange, request: Body, beginning: str
    ) -> list[bytes] | None:
        marks = [_mark_or_nothing(raw) for raw in items]
        hidden = [
            mark for r in exchange.rounds for raw in _shown(bytes(r.said)) for mark in [_mark(raw)]
        ]
        if exchange.mixed:
            hidden = hidden[: len(hidden) - len(exchange.answer)]
        for start in _starts(marks, hidden, exchange):
            at = start
            for mark in hidden:
                if at < len(marks) and marks[at] == mark:
                    at += 1
            end = at
            for mark in exchange.answer:
                if end < len(marks) and marks[end] == mark:
                    end += 1
            if exchange.answer and end == at:
                continue
            if not exchange.is_at(start, marks[start:end], beginning):
                continue
            closed = exchange.rounds[:-1] if exchange.mixed else exchange.rounds
            said = [
                item
                for r in closed
                for item in [*_repeatable(bytes(r.said), request), *_results(r.results)]
            ]
            rest = items[at:end]
            if exchange.mixed:
                rest = _with_calls(rest, bytes(exchange.rounds[-1].said))
                rest += _results(exchange.rounds[-1].results)
            return [*items[:start], *said, *rest, *items[end:]]
        return None


def _read_item(raw: bytes) -> _Item:
    return parse(_item, raw, "an item cannot be read")


def _is_ours(item: _Item) -> bool:
    return item.type == "function_call" and item.name == RETRIEVAL_TOOL


def _own_calls(items: list[_Item]) -> int:
    """Return the number of calls that the client has to answer, as it does unknown kinds.

    A call whose output is in the answer too was served by the provider.
    """
    served = {item.call_id for item in items if item.type.endswith("_output") and item.call_id}
    return sum(_is_own_call(item) and item.call_id not in served for item in items)


def _is_own_call(item: _Item) -> bool:
    if item.type == "mcp_approval_request":
        return True
    if item.type in _SERVED_BY_PROVIDER:
        return item.execution == "client"
    return item.type.endswith("_call") and not _is_ours(item)


def _retrieval(item: _Item) -> Retrieval:
    call = {"type": "function_call", "name": item.name, "arguments": item.arguments}
    return Retrieval(item.call_id or "", retrieval_hash(call, "openai_responses") or "")


def _shown(said: bytes) -> list[bytes]:
    return [raw for raw in array_items(said) if not _is_ours(_read_item(raw))]


def _repeatable(said: bytes, request: Body) -> list[bytes]:
    """Return the items that the next request may repeat.

    The provider rejects a reasoning item that it has not stored and that has no encrypted content.
    """
    items = array_items(said)
    if request.field("store") != b"false":
        return items
    return [
        raw
        for raw in items
        if (item := _read_item(raw)).type != "reasoning" or item.encrypted_content
    ]


def _mark(raw: bytes) -> str:
    item = _read_item(raw)
    if item.call_id:
        return f"{UNIQUE}{item.type}:{item.call_id}"
    told = item.encrypted_content or text_of(item.content) or item.id or ""
    kind = f"{UNIQUE}reasoning:" if item.encrypted_content else f"{item.type}:"
    return kind + mark_digest(told)


def _results(results: Iterable[ToolResult]) -> list[bytes]:
    return [
        _encode({"type": "function_call_output", "call_id": result.id, "output": result.text})
        for result in results
    ]


def _starts(marks: list[str], hidden: list[str], exchange: Exchange) -> list[int]:
    """Return the indexes at which the turn's first visible item may be, most likely first."""
    wanted = {*hidden, *exchange.answer}
    found = exchange.places(len(marks), wanted)
    return [i for i in found if marks[i] in wanted and not (i and marks[i - 1] in wanted)]


def _mark_or_nothing(raw: bytes) -> str:
    try:
        return _mark(raw)
    except Unreadable:
        return ""


def _with_calls(rest: list[bytes], said: bytes) -> list[bytes]:
    """Insert the retrieval calls of ``said`` into the client's items at their old places."""
    remaining = list(rest)
    items = []
    for raw in array_items(said):
        if _is_ours(_read_item(raw)):
            items.append(raw)
        elif remaining and _mark(remaining[0]) == _mark(raw):
            items.append(remaining.pop(0))
    return items
