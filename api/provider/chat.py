"""OpenAI's Chat Completions API: https://platform.openai.com/docs/api-reference/chat."""

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
    ToolResult,
    Turn,
    mark_digest,
    text_of,
)

_encode = msgspec.json.Encoder().encode


class _Function(msgspec.Struct):
    name: str = ""
    arguments: Any = ""


class _Call(msgspec.Struct):
    id: str = ""
    type: str = "function"
    function: _Function = msgspec.field(default_factory=_Function)


class _Said(msgspec.Struct):
    role: str = "assistant"
    content: Any = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    id: str = ""
    usage: dict[str, Any] | None = None


_call = msgspec.json.Decoder(_Call)
_said = msgspec.json.Decoder(_Said)
_answer = msgspec.json.Decoder(_Answer)


class Chat(Provider):
    """Chat Completions: an assistant message with calls, and a tool message for each after it."""

    name = "openai"
    array = "messages"
    tool = _encode(retrieval_tool("openai"))
    no_tools = b'"none"'

    def can_offer(self, body: bytes | Body) -> bool:
        """Return whether the farm may offer its tool.

        It may not if the request asks for several choices, or uses the deprecated ``functions``,
        which the API does not accept together with ``tools``.
        """
        request = Body.of(body)
        request.list_of("tools")
        return request.field("n") in (b"", b"null", b"1") and "functions" not in request

    def read(self, answer: bytes) -> Turn:
        """Parse an answer; retrieval calls in an answer with several choices are not served."""
        found = parse(_answer, answer, "the answer is not a chat completion")
        if len(found.choices) != 1:
            return Turn(b"{}", (), 0, False, found.usage, found.id)
        said = bytes(found.choices[0].message)
        calls = [_read_call(bytes(raw)) for raw in _read_said(said).tool_calls or []]
        return Turn(
            said=said,
            retrievals=tuple(_retrieval(call) for call in calls if _is_ours(call)),
            own_calls=sum(not _is_ours(call) for call in calls),
            ended=found.choices[0].finish_reason in ("tool_calls", "stop", None),
            usage=found.usage,
            id=found.id,
        )

    def merge(self, answer: bytes, turns: Sequence[Turn]) -> bytes:
        """Return the ``answer`` for the client: all answers' text joined, the last one's calls."""
        turn = self.read(answer)
        if turn.said == b"{}":
            return answer
        texts = [text_of(_read_said(t.said).content) for t in [*turns, turn]]
        fields: dict[str, bytes] = {}
        if any(texts[:-1]):
            fields["content"] = _encode("".join(texts))
        message = Body(_shown(turn.said)).replaced(fields)
        choice = Body(array_items(Body(answer).field("choices"))[0])
        changed = {"message": message}
        if turn.retrievals and not turn.own_calls and turn.ended:
            changed["finish_reason"] = b'"stop"'
        whole = {"choices": b"[%b]" % choice.replaced(changed)}
        if turn.usage is not None and turns:
            whole["usage"] = _encode(add_usage([t.usage for t in [*turns, turn]]))
        return Body(answer).replaced(whole)

    def marks(self, said: bytes) -> tuple[str, ...]:
        """Return what identifies the message: its text and the ids of the client's calls."""
        found = _read_said(said)
        calls = [_read_call(bytes(raw)) for raw in found.tool_calls or []]
        own = [UNIQUE + call.id for call in calls if not _is_ours(call)]
        return ("text:" + mark_digest(text_of(found.content)), *own)

    def _name_of(self, tool: dict[str, Any]) -> Any:
        function = tool.get("function")
        return function.get("name") if isinstance(function, dict) else None

    def _continued(self, request: Body, turn: Turn, results: Sequence[ToolResult]) -> bytes:
        return array_with(request.field("messages"), turn.said, *_results(results))

    def _put_back(
        self, items: list[bytes], exchange: Exchange, request: Body, beginning: str
    ) -> list[bytes] | None:
        closed = exchange.rounds[:-1] if exchange.mixed else exchange.rounds
        spoken = "".join([text_of(_read_said(bytes(r.said)).content) for r in closed])
        for index in exchange.places(len(items), exchange.answer):
            raw = items[index]
            if b"assistant" not in raw or not exchange.is_at(index, exchange.answer, beginning):
                continue
            rest = self._rest_of(raw, spoken, exchange.answer)
            if rest is None:
                continue
            said = [m for r in closed for m in [bytes(r.said), *_results(r.results)]]
            if exchange.mixed:
                last = exchange.rounds[-1]
                said += [_with_calls(rest, bytes(last.said)), *_results(last.results)]
            else:
                said.append(rest)
            return [*items[:index], *said, *items[index + 1 :]]
        return None

    def _rest_of(self, raw: bytes, spoken: str, answer: tuple[str, ...]) -> bytes | None:
        """Return the client's message without the text ``spoken`` before; None: no match."""
        try:
            found = _read_said(raw)
            if found.role != "assistant":
                return None
            text = text_of(found.content)
            rest = raw
            if spoken:
                if not text.startswith(spoken):
                    return None
                left = text[len(spoken) :]
                empty = b"null" if found.tool_calls else b'""'
                rest = Body(raw).replaced({"content": _encode(left) if left else empty})
            return rest if self.marks(rest) == answer else None
        except Unreadable:
            return None


def _read_said(raw: bytes) -> _Said:
    return parse(_said, raw, "a message cannot be read")


def _read_call(raw: bytes) -> _Call:
    return parse(_call, raw, "a call cannot be read")


def _is_ours(call: _Call) -> bool:
    return call.type == "function" and call.function.name == RETRIEVAL_TOOL


def _retrieval(call: _Call) -> Retrieval:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    asked = {"id": call.id, "type": "function", "function": function}
    return Retrieval(call.id, retrieval_hash(asked, "openai") or "")


def _results(results: Iterable[ToolResult]) -> list[bytes]:
    return [
        _encode({"role": "tool", "tool_call_id": result.id, "content": result.text})
        for result in results
    ]


def _shown(said: bytes) -> bytes:
    """Return the message without retrieval calls."""
    calls = [bytes(raw) for raw in _read_said(said).tool_calls or []]
    kept = [raw for raw in calls if not _is_ours(_read_call(raw))]
    if len(kept) == len(calls):
        return said
    if kept:
        return Body(said).replaced({"tool_calls": array_of(kept)})
    # The field is removed: the API rejects a null when the client sends it back.
    message = msgspec.json.decode(said)
    del message["tool_calls"]
    return _encode(message)


def _with_calls(raw: bytes, said: bytes) -> bytes:
    """Insert the retrieval calls of ``said`` into the client's message at their old places."""
    own = iter([bytes(call) for call in _read_said(raw).tool_calls or []])
    calls = [bytes(call) for call in _read_said(said).tool_calls or []]
    put = [call if _is_ours(_read_call(call)) else next(own) for call in calls]
    return Body(raw).replaced({"tool_calls": array_of(put)})
