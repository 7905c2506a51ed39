"""The state of one request while it is processed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.deadline import Deadline
from shared.headroom import Counter

from ..runtime.admission import Admission
from .conversation import ALL_LEFT, Conversation, Sent
from .message import Candidate, Message, Place, Plan, decode
from .plan_options import PlanOptions
from .planning_context import ConversationContext
from .request_options import RequestOptions
from .session_memory import Session
from .split_body import Split
from .trace import Trace


@dataclass(slots=True)
class RequestContext:
    """The state of one request; a request is one turn of its conversation.

    ``chains`` identify the conversation up to each message, ``marks`` are each message's cache
    marks. ``known`` leading messages are sent as before; ``before`` is a copy of those decisions,
    because another request may undo them concurrently. ``revised`` says why an earlier decision
    changed (``cold``, ``pays``; empty: none did). ``unplanned`` are messages for which there was
    no time to plan; ``left`` are texts that an earlier answer sent without their form, by chain
    and number. ``earlier`` are the options of earlier requests, each with the number of messages up
    to its end; ``as_came`` are messages sent unchanged because the caller declared them frozen;
    ``replayed`` is the number of leading messages sent before. ``trace`` is None unless requested.
    """

    session: Session
    split: Split
    messages: list[Message]
    counter: Counter
    options: RequestOptions
    deadline: Deadline
    admission: Admission
    conversation: Conversation
    chains: list[bytes] = field(default_factory=list)
    marks: list[bytes] = field(default_factory=list)
    known: int = 0
    before: list[Sent] = field(default_factory=list)
    revised: str = ""
    unplanned: set[int] = field(default_factory=set)
    left: dict[bytes, frozenset[int]] = field(default_factory=dict)
    earlier: list[tuple[int, PlanOptions]] = field(default_factory=list)
    as_came: set[int] = field(default_factory=set)
    replayed: int = 0
    decoded: dict[int, dict[str, Any]] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    context: ConversationContext | None = None
    texts: dict[str, str] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    misses: int = 0
    fresh: set[str] = field(default_factory=set)
    trace: Trace | None = None

    def raw(self, index: int) -> bytes:
        """Return message ``index`` as received."""
        start, end = self.split.spans[index]
        return self.split.body[start:end]

    def message(self, index: int) -> dict[str, Any]:
        """Return message ``index`` decoded (once)."""
        if index not in self.decoded:
            self.decoded[index] = decode(self.raw(index))
        return self.decoded[index]

    def text(self, index: int, candidate: Candidate) -> str:
        """Return the text of ``candidate`` in message ``index``."""
        text = self.texts.get(candidate.key)
        return text if text is not None else text_at(self.message(index), candidate.place)

    def is_left(self, index: int, number: int) -> bool:
        """Return whether an earlier answer sent text ``number`` of a message without its form."""
        left = self.left.get(self.chains[index], frozenset())
        return number in left or ALL_LEFT in left

    def mark(self, stage: str, ended: float | None = None) -> None:
        """Record that ``stage`` ends now, or ended at ``ended`` (``time.perf_counter()``)."""
        if self.trace is not None:
            self.trace.mark(stage, ended)


def text_at(message: dict[str, Any], place: Place) -> str:
    """Return the text at ``place``."""
    content = message["content"]
    if place.block is None:
        return str(content)
    block = content[place.block]
    inner = block["content"] if block.get("type") == "tool_result" else block["text"]
    return str(inner if place.part is None else inner[place.part]["text"])
