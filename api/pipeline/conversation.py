"""A conversation as it was sent: the decisions of earlier turns, and the text the model sees.

Every message is decided once, in order, and the decision is kept. So a turn's answer begins with
the previous turn's answer, and folding may refer to any earlier text.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from shared.jobs import Shape, is_tool_output

from .fold.line_index import FoldIndex, Mark
from .fold.reference_wording import describe
from .fold.references import Folded, Source, input_texts
from .message import Place
from .plan_message import texts_of

_SENT_BYTES = 400
"""Measured bytes of a stored message, without its new text and its lines in the index."""


ALL_LEFT = -1
"""Represents all candidates of a message for which there was no time to read it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A new text for a place of a message. ``folded`` is set if it refers to earlier texts."""

    place: Place
    shape: Shape
    text: str
    folded: Folded | None = None


class Lost(NamedTuple):
    """A shortened text: the call whose output it is, and the engine that left something out.

    ``digest`` identifies the original.
    """

    call_id: str
    tool: str
    engine: str
    digest: str


@dataclass(slots=True)
class Sent:
    """One message as sent. ``tokens`` are its tokens after compression, by the counter's id.

    ``shown`` are the CCR hashes in its text, each with the place of its original; ``engines`` made
    its new texts; ``left`` are the numbers of the candidates that were sent without their forms
    because of a fault (:data:`ALL_LEFT`: the message was not read).
    ``unstored`` are hashes of ``shown`` whose original no worker has stored.
    ``lost`` are its shortened texts.
    ``data`` is the message as written for ``marks``; None if it is sent unchanged.
    """

    changes: tuple[Change, ...] = ()
    transforms: tuple[str, ...] = ()
    shown: dict[str, Place] = field(default_factory=dict)
    engines: tuple[str, ...] = ()
    left: frozenset[int] = frozenset()
    unstored: frozenset[str] = frozenset()
    tokens: int | None = None
    data: bytes | None = None
    marks: bytes = b""
    keys: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()


class Conversation:
    """One conversation of a user, under one marker mode (``seed``)."""

    __slots__ = (
        "_descriptions",
        "_marks",
        "chains",
        "index",
        "lock",
        "seed",
        "sent",
        "shown",
        "used",
    )

    def __init__(self, seed: object) -> None:
        self.seed = seed
        self.chains: list[bytes] = []
        self.sent: list[Sent] = []
        self.index = FoldIndex()
        self.shown = 0
        self.lock = asyncio.Lock()
        self.used = time.monotonic()
        self._marks: list[Mark] = []
        self._descriptions: dict[str, str] = {}

    def shared_with(self, chains: list[bytes]) -> int:
        """Return how many leading messages of ``chains`` are this conversation's."""
        low, high = 0, min(len(chains), len(self.chains))
        while low < high:
            middle = (low + high + 1) // 2
            if chains[middle - 1] == self.chains[middle - 1]:
                low = middle
            else:
                high = middle - 1
        return low

    def branch(self, length: int) -> Conversation:
        """Return a new conversation that begins with the first messages of this one."""
        other = Conversation(self.seed)
        other.chains, other.sent = self.chains[:length], self.sent[:length]
        other.used = self.used
        return other

    def cut(self, length: int) -> None:
        """Forget all messages from ``length`` on, which the caller has removed."""
        del self.chains[length:], self.sent[length:]
        if self.shown > length:
            kept = self.index.rollback(self._marks[length])
            del self._marks[length:]
            self.shown = length
            if not kept:  # the index has dropped lines since: rebuild it from what was sent
                self.index, self._marks, self.shown = FoldIndex(), [], 0

    def append(self, chain: bytes, sent: Sent) -> None:
        """Record how the next message is sent."""
        self.chains.append(chain)
        self.sent.append(sent)

    def show(self, message: dict[str, Any] | None) -> None:
        """Add the next message to the index, so that later ones may refer to it; None: skip it."""
        self._marks.append(self.index.mark())
        sent = self.sent[self.shown]
        self.shown += 1
        if message is None:
            return
        changed = {change.place: change for change in sent.changes}
        for call_id, name, arguments in _calls(message):
            self._descriptions[call_id] = describe(name, arguments)
            for path, text in input_texts(arguments):
                source = Source(call_id, self._descriptions[call_id], f"input:{path}")
                self.index.add(source, text)
        role = str(message.get("role") or "")
        for place, part in texts_of(message):
            call_id, text = _output(place, part, role)
            if call_id:
                change = changed.get(place)
                shown = text if change is None else change.folded or change.text
                self.index.add(self.source(call_id, place), shown)

    def source(self, call_id: str, place: Place) -> Source:
        """Return the source that names the output of a call; each part is a separate text."""
        kind = "output" if not place.part else f"output, part {place.part + 1}"
        return Source(call_id, self._descriptions.get(call_id, ""), kind)

    @property
    def cost(self) -> int:
        """Bytes of this conversation that count towards the memory limit."""
        texts = sum([len(s.data) for s in self.sent if s.data is not None])
        return self.index.cost + 2 * texts + _SENT_BYTES * len(self.sent)


def _calls(message: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return id, tool and arguments of the calls in an assistant's message."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    content = message.get("content")
    for block in content if isinstance(content, list) else []:
        if isinstance(block, dict) and block.get("type") == "tool_use":
            made = _arguments(block.get("input"))
            found.append((str(block.get("id")), str(block.get("name")), made))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            made = _arguments(function.get("arguments"))
            found.append((str(call.get("id")), str(function.get("name")), made))
    return found


def _arguments(given: object) -> dict[str, Any]:
    """Return a call's arguments, which Chat Completions has as a JSON string."""
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return {}
    return given if isinstance(given, dict) else {}


def _output(place: Place, part: dict[str, Any], role: str) -> tuple[str, str]:
    """Return the call that a part answers, and its text; empty if it is not a tool's output."""
    if place.block is None:
        call_id = part.get("tool_call_id") or part.get("tool_use_id")
        text = part.get("content")
        output = is_tool_output("string", role)
    else:
        block = part["content"][0]
        output = block.get("type") == "tool_result" or is_tool_output("text", role)
        call_id = block.get("tool_use_id") or part.get("tool_call_id")
        text = block.get("content") if block.get("type") == "tool_result" else block.get("text")
    good = output and isinstance(call_id, str) and isinstance(text, str)
    return (str(call_id), str(text)) if good else ("", "")
