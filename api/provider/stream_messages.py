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
            return self._close(event, data)
        if kind == "message_stop":
            self.state = "follow_up" if self._goes_on else "over"
            return b"" if self._goes_on else event
        if kind == "error":
            self.state = "over"
        return event

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

    def _close(self, event: bytes, data: dict[str, Any]) -> bytes:
        delta, usage = data.get("delta"), data.get("usage")
        delta = delta if isinstance(delta, dict) else {}
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
        turn = self._turn(delta.get("stop_reason"))
        if turn is None:
            return event
        before = [*self.turns]
        self.turns.append(turn)
        self._goes_on = turn.next_step == "follow_up" and not self._last
        if self._goes_on:
            return b""
        unserved = turn.next_step == "follow_up"
        if not before and not unserved:
            return event
        changed = {**data, "usage": usage_of([*before, turn]) if before else turn.usage}
        if unserved:
            changed["delta"] = {**delta, "stop_reason": "end_turn"}
        return with_data(event, changed)

    def _turn(self, stop_reason: object) -> Turn | None:
        blocks = []
        for index, block in self._blocks.items():
            if index in self._inputs:
                block["input"] = msgspec.Raw("".join(self._inputs[index]).encode() or b"{}")
            blocks.append(block)
        answer = {"id": self._id, "content": blocks, "stop_reason": stop_reason}
        try:
            return _messages.read(encode({**answer, "usage": self._usage}))
        except (Unreadable, TypeError, UnicodeEncodeError):
            return None
