"""OpenAI's Chat Completions streams: https://platform.openai.com/docs/api-reference/chat-streaming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.headroom import RETRIEVAL_TOOL

from .answer_stream import AnswerStream, decoded, encode, grown, whole_number
from .billed_usage import add_usage
from .body import Unreadable
from .chat import Chat
from .provider_interface import Turn
from .sse import data_of, with_data

_chat = Chat()
_OF_THE_FIRST = ("id", "created", "system_fingerprint")
"""Fields that all chunks of one answer share."""


class ChatStream(AnswerStream):
    """Holds back the pieces of retrieval calls and renumbers the client's calls."""

    def __init__(self) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}

    def _begin(self) -> None:
        self._message: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._places = {}
        self._usage: dict[str, Any] | None = None
        self._turn: Turn | None = None
        self._goes_on = False

    def end(self) -> bytes:
        """Handle the end of the provider's stream; not all servers send ``[DONE]``."""
        if self.state == "open" and self._turn is not None:
            self.state = "follow_up" if self._goes_on else "over"
            self._end(self._turn)
        return b""

    def feed(self, event: bytes) -> bytes:
        """Return the bytes to send to the client for an event of the provider."""
        raw = data_of(event)
        if raw == b"[DONE]":
            self.end()
            return b"" if self._goes_on else event
        data = decoded(raw)
        if data is None:
            return event
        if "error" in data:
            self.state = "over"
            return event
        if not self._head:
            self._head = {name: data[name] for name in _OF_THE_FIRST if name in data}
        changed = self._changed(data)
        if changed is None:
            return b""
        if self.turns and changed is data:
            changed = dict(data)
        if self.turns:
            changed |= {name: self._head[name] for name in self._head if name in data}
        return event if changed is data else with_data(event, changed)

    def _changed(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return a chunk for the client: ``data`` itself if unchanged, None if it is hidden."""
        usage, choices = data.get("usage"), data.get("choices")
        found = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        after = data
        if isinstance(usage, dict):
            self._usage = usage
            if self.turns and not self._goes_on:
                after = {**data, "usage": add_usage([t.usage for t in self.turns] + [usage])}
        if not isinstance(found, dict):
            return None if self._goes_on else after
        choice = self._choice(found)
        if choice is None:
            return None
        return after if choice is found else {**after, "choices": [choice]}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        delta, reason = choice.get("delta"), choice.get("finish_reason")
        delta = delta if isinstance(delta, dict) else {}
        grown(self._message, delta, leave=("tool_calls", "role"))
        kept = self._visible(delta)
        if reason is not None:
            self._finish(reason)
        if self._goes_on:
            reason = None
        elif reason is not None and self._turn is not None:
            reason = "stop" if self._turn.next_step == "follow_up" else reason
        if kept is delta and reason == choice.get("finish_reason"):
            return choice
        if not kept and reason is None:
            return None
        return {**choice, "delta": kept, "finish_reason": reason}

    def _visible(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the delta without retrieval calls and repeated roles; itself if it has none."""
        kept = delta
        if self.turns and "role" in delta:
            kept = {name: value for name, value in delta.items() if name != "role"}
        calls = delta.get("tool_calls")
        if not isinstance(calls, list):
            return kept
        shown = [one for call in calls if (one := self._call(call)) is not None]
        if shown == calls:
            return kept
        rest = {name: value for name, value in kept.items() if name != "tool_calls"}
        if shown:
            return {**rest, "tool_calls": shown}
        return {name: value for name, value in rest.items() if value is not None}

    def _call(self, call: object) -> dict[str, Any] | None:
        """Return a part of a call with the client's index; None if it is a retrieval call's."""
        if not isinstance(call, dict):
            return None
        index, function = whole_number(call.get("index")), call.get("function")
        function = function if isinstance(function, dict) else {}
        whole = self._calls.setdefault(index, {"function": {}})
        _fill(whole, call, leave=("index", "function"))
        _fill(whole["function"], function, leave=("arguments",))
        if "arguments" in function:
            grown(whole["function"], {"arguments": function["arguments"]})
        if index not in self._places:
            shown = sum(place is not None for place in self._places.values())
            ours = function.get("name") == RETRIEVAL_TOOL
            self._places[index] = None if ours else shown
        place = self._places[index]
        if place is None:
            return None
        hides = None in self._places.values()
        return {**call, "index": place} if hides and place != index else call

    def _finish(self, reason: object) -> None:
        message = {"role": "assistant", "content": None, **self._message}
        if self._calls:
            message["tool_calls"] = [{"type": "function", **c} for c in self._calls.values()]
        choice = {"message": message, "finish_reason": reason}
        answer = {"id": str(self._head.get("id", "")), "choices": [choice]}
        try:
            self._turn = _chat.read(encode(answer))
        except (Unreadable, TypeError, UnicodeEncodeError):
            return
        self._goes_on = self._turn.next_step == "follow_up" and not self._last

    def _end(self, turn: Turn) -> None:
        self.turns.append(
            Turn(turn.said, turn.retrievals, turn.own_calls, turn.ended, self._usage, turn.id)
        )


def _fill(of: dict[str, Any], piece: dict[str, Any], leave: Sequence[str]) -> None:
    """Set what a piece of a call says of it: servers may repeat its id, type and name."""
    of |= {name: value for name, value in piece.items() if value and name not in leave}
