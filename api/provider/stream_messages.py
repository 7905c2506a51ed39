"""Anthropic's streams: https://docs.anthropic.com/en/docs/build-with-claude/streaming."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.headroom import RETRIEVAL_TOOL

from .answer_stream import AnswerStream, decoded, encode, grown, whole_number
from .body import Unreadable
from .messages import Messages, usage_of
from .provider_interface import Turn
from .sse import data_of, with_data

_messages = Messages()


class MessagesStream(AnswerStream):
    """Holds back the blocks of retrieval calls and renumbers the others."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = 0

    def _begin(self) -> None:
        self._places = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}
        self._usage: dict[str, Any] = {}
        self._delta: dict[str, Any] = {}
        self._held: list[tuple[bytes, dict[str, Any]]] = []
        self._id = ""
        self._goes_on = False

    def feed(self, event: bytes) -> bytes:
        """Return the bytes to send to the client for an event of the provider."""
        data = decoded(data_of(event))
        if data is None:
            return event
        kind = data.get("type")
        if kind == "message_start":
            return self._start(event, data)
        if kind == "content_block_start":
            return self._open(event, data)
        if kind in ("content_block_delta", "content_block_stop"):
            return self._go_on(event, data)
        if kind == "message_delta":
            return self._change(event, data)
        if kind == "message_stop" and self.state == "open":
            ending = self._close()
            return b"" if self._goes_on else ending + event
        if kind == "error":
            self.state = "over"
        return event

    def end(self) -> bytes:
        """Return the held events of a stream without a last event, if it has a stop reason."""
        complete = self.state == "open" and self._delta.get("stop_reason") is not None
        return self._close() if complete else b""

    def _start(self, event: bytes, data: dict[str, Any]) -> bytes:
        message = data.get("message")
        if isinstance(message, dict):
            self._id = str(message.get("id", ""))
            usage = message.get("usage")
            self._usage = usage if isinstance(usage, dict) else {}
        return b"" if self.turns else event

    def _open(self, event: bytes, data: dict[str, Any]) -> bytes:
        index, block = whole_number(data.get("index")), data.get("content_block")
        if not isinstance(block, dict):
            return event
        self._blocks[index] = dict(block)
        if block.get("type") == "tool_use" and block.get("name") == RETRIEVAL_TOOL:
            self._places[index] = None
            return b""
        self._places[index] = self._shown
        self._shown += 1
        return self._numbered(event, data, index)

    def _go_on(self, event: bytes, data: dict[str, Any]) -> bytes:
        index, delta = whole_number(data.get("index")), data.get("delta")
        if isinstance(delta, dict) and index in self._blocks:
            self._add(index, delta)
        return self._numbered(event, data, index)

    def _add(self, index: int, delta: dict[str, Any]) -> None:
        kind, block = delta.get("type"), self._blocks[index]
        if kind == "input_json_delta":
            self._inputs.setdefault(index, []).append(str(delta.get("partial_json", "")))
        elif kind == "citations_delta":
            cited = block.get("citations")
            block["citations"] = [*(cited or []), delta.get("citation")]
        else:
            grown(block, delta, leave=("type",))

    def _numbered(self, event: bytes, data: dict[str, Any], index: int) -> bytes:
        place = self._places.get(index, index)
        if place is None:
            return b""
        if place == index or not self.hides:
            return event
        return with_data(event, {**data, "index": place})

    def _change(self, event: bytes, data: dict[str, Any]) -> bytes:
        """Read a change of the message, of which there may be several, and hold it if need be.

        Whether the message is continued, and with which usage it ends, is known at its end.
        """
        delta, usage = data.get("delta"), data.get("usage")
        for of, more in ((self._delta, delta), (self._usage, usage)):
            if isinstance(more, dict):
                of |= {name: value for name, value in more.items() if value is not None}
        if not self.hides:
            return event
        self._held.append((event, data))
        return b""

    def _close(self) -> bytes:
        """End the round; return the held changes of the message as the client gets them."""
        turn = self._turn()
        before = [*self.turns]
        self.turns.append(turn)
        self._goes_on = turn.next_step == "follow_up" and not self._last
        self.state = "follow_up" if self._goes_on else "over"
        if self._goes_on or not self._held:
            return b""
        hidden = self._hides_its_calls()
        if not before and not hidden:
            return b"".join([event for event, _ in self._held])
        event, data = self._held[-1]
        changed = {**data, "usage": usage_of([*before, turn]) if before else turn.usage}
        if hidden or len(self._held) > 1:
            first = self._held[0][1].get("delta")
            delta = {**(first if isinstance(first, dict) else {}), **self._delta}
            changed["delta"] = {**delta, "stop_reason": "end_turn"} if hidden else delta
        return with_data(event, changed)

    def _hides_its_calls(self) -> bool:
        """Whether the message ends with calls, and the client sees none of them."""
        calls = [i for i, block in self._blocks.items() if block.get("type") == "tool_use"]
        seen = any(self._places[index] is not None for index in calls)
        return bool(calls) and not seen and self._delta.get("stop_reason") in ("tool_use", None)

    def _turn(self) -> Turn:
        try:
            blocks = [
                {**block, "input": _input("".join(self._inputs[index]))}
                if index in self._inputs
                else block
                for index, block in self._blocks.items()
            ]
            stop = self._delta.get("stop_reason")
            answer = {"id": self._id, "content": blocks, "stop_reason": stop}
            return _messages.read(encode({**answer, "usage": self._usage}))
        except (Unreadable, TypeError, UnicodeEncodeError):
            return Turn(b"[]", (), 0, False, self._usage, self._id)


def _input(text: str) -> dict[str, str] | msgspec.Raw:
    """Return a call's input as the next request repeats it, an object.

    With fine-grained streaming the model's own text comes through, even if it is not valid; the API
    wants that wrapped:
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming.
    """
    if not text:
        return {}
    found = decoded(text.encode())
    return {"INVALID_JSON": text} if found is None else msgspec.Raw(text.encode())
