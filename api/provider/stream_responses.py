"""OpenAI's Responses streams: https://platform.openai.com/docs/api-reference/responses-streaming."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.headroom import RETRIEVAL_TOOL

from .answer_stream import AnswerStream, decoded, whole_number
from .body import Unreadable
from .responses import Responses
from .sse import data_of, with_data

_encode = msgspec.json.Encoder().encode
_responses = Responses()
_STARTS = ("response.created", "response.in_progress", "response.queued")
_ENDS = ("response.completed", "response.incomplete", "response.failed")


class ResponsesStream(AnswerStream):
    """Holds back the events of retrieval calls and renumbers items and events."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = 0
        self._number = -1

    def _begin(self) -> None:
        self._places = {}
        self._done: dict[int, Any] = {}

    def feed(self, event: bytes) -> bytes:
        """Return the bytes to send to the client for an event of the provider."""
        data = decoded(data_of(event))
        if data is None:
            return event
        kind = data.get("type")
        if kind == "error":
            self.state = "over"
        if kind in _STARTS and self.turns:
            return b""
        if kind in _ENDS:
            return self._end(event, data)
        changed = data
        if "output_index" in data:
            index = whole_number(data["output_index"])
            place = self._place(index, kind, data.get("item"))
            if place is None:
                return b""
            if self.hides and place != index:
                changed = {**data, "output_index": place}
        return self._numbered(event, data, changed)

    def _place(self, index: int, kind: object, item: object) -> int | None:
        """Return an item's index for the client; None if it is a retrieval call."""
        if kind == "response.output_item.done":
            self._done[index] = item
        if index not in self._places:
            called = item if isinstance(item, dict) else {}
            ours = called.get("type") == "function_call" and called.get("name") == RETRIEVAL_TOOL
            self._places[index] = None if ours else self._shown
            self._shown += not ours
        return self._places[index]

    def _numbered(self, event: bytes, data: dict[str, Any], changed: dict[str, Any]) -> bytes:
        """Return the event with the sequence number after the last one sent to the client."""
        given = data.get("sequence_number")
        if isinstance(given, int):
            self._number = self._number + 1 if self.hides else given
            if self._number != given:
                changed = {**changed, "sequence_number": self._number}
        return event if changed is data else with_data(event, changed)

    def _end(self, event: bytes, data: dict[str, Any]) -> bytes:
        self.state = "over"
        response = data.get("response")
        if not isinstance(response, dict):
            return event
        if not response.get("output"):
            # Some servers send the items only in earlier events.
            response = {**response, "output": [self._done[index] for index in sorted(self._done)]}
        before = [*self.turns]
        try:
            raw = _encode(response)
            turn = _responses.read(raw)
            if turn.next_step == "follow_up" and not self._last:
                self.turns.append(turn)
                self.state = "follow_up"
                return b""
            hidden = bool(before or turn.retrievals)
            changed = data
            if hidden:
                merged = msgspec.json.decode(_responses.merge(raw, before))
                changed = {**data, "response": merged}
        except (Unreadable, TypeError, UnicodeEncodeError):
            return event
        sent = self._numbered(event, data, changed)
        self.turns.append(turn)
        return sent
