"""Step 2: decide which texts of a conversation may shrink, by headroom's rules.

The rules look at one message at a time and at four things around it: the tool calls it
answers, whether a file it read was edited later, whether it is recent and whether the
user asks about code. So a message's plan is kept until one of the four changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import structlog

from shared.jobs import Original, Shape, ToolCall, is_tool_output
from shared.upstream import ENGINE_VERSION, Counter, Lifecycle, Planned
from shared.upstream import Planner as Rules

from .message import Candidate, Message, Plan, Replacement

_log = structlog.get_logger(__name__)
_pack = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What of the request decides plans. ``protect_recent`` counts messages."""

    marker_mode: str
    code_aware: bool
    target_ratio: float | None
    protect_recent: int
    min_tokens: int
    compress_user_messages: bool


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What one message is planned in: of the conversation, what it has to do with."""

    options: PlanOptions
    counter: Counter
    calls: dict[str, ToolCall]
    stale: dict[str, Any]
    recent: bool
    analysis: bool


class ConversationContext:
    """What a conversation's messages are read against: options, calls, stale reads, intent."""

    def __init__(
        self,
        messages: list[Message],
        options: PlanOptions,
        counter: Counter,
        lifecycle: Lifecycle,
    ) -> None:
        self.options = options
        self.counter = counter
        self.base = _intern((options, counter.id))
        self.calls: dict[str, ToolCall] = {}
        edits = []
        for index, message in enumerate(messages):
            if message.calls:
                self.calls.update(message.calls)
                if message.files:
                    edits.append((index, message.files))
        markers = options.marker_mode == "ccr"
        self.stale = lifecycle.classify(edits) if markers and edits else {}
        self.first_recent = len(messages) - options.protect_recent
        self.analysis = False
        self.query = ""
        asked = False
        for message in reversed(messages):
            if message.analysis is None:
                continue
            if not asked:
                self.analysis = message.analysis
                asked = True
            if message.query:
                self.query = message.query
                break

    def key(self, index: int, message: Message, plan: Plan) -> object:
        """Return what ``plan`` of message ``index`` hangs on; it holds while this is equal."""
        calls = stale = None
        if message.answers:
            calls = tuple([self.calls.get(i) for i in message.answers])
            if self.stale:
                stale = tuple([self._state(i) for i in message.answers])
        code = (index >= self.first_recent, self.analysis) if plan.code else None
        return (self.base, calls, stale, code)

    def context(self, index: int, message: Message) -> MessageContext:
        """Return what message ``index`` is planned in."""
        answers = message.answers
        return MessageContext(
            self.options,
            self.counter,
            {i: self.calls[i] for i in answers if i in self.calls},
            {i: self.stale[i] for i in answers if i in self.stale},
            index >= self.first_recent,
            self.analysis,
        )

    def _state(self, call: str) -> tuple[str, str] | None:
        read = self.stale.get(call)
        return (read.state.value, read.file_path) if read else None


@lru_cache(maxsize=1024)
def _intern(base: tuple[PlanOptions, str]) -> tuple[PlanOptions, str]:
    """Return one object for equal values, so that comparing keys compares identities."""
    return base


class ConversationPlanner:
    """Plans messages; the plans are kept in the messages' facts."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, bool], Rules] = {}
        self._lifecycle = Lifecycle()

    def surroundings(
        self, messages: list[Message], options: PlanOptions, counter: Counter
    ) -> ConversationContext:
        """Read what the conversation's messages are planned against."""
        return ConversationContext(messages, options, counter, self._lifecycle)

    def plan(
        self, index: int, message: Message, decoded: dict[str, Any], around: ConversationContext
    ) -> tuple[Plan, list[Original], dict[str, str]]:
        """Plan message ``index``.

        Returns its plan, the originals to store before the answer leaves, and the texts
        of its candidates by key. A message that headroom's rules cannot read stays as it is.
        """
        return self.plan_in(around.context(index, message), message, decoded)

    def plan_in(
        self, context: MessageContext, message: Message, decoded: dict[str, Any]
    ) -> tuple[Plan, list[Original], dict[str, str]]:
        """Plan a message in its context; returns as :meth:`plan`."""
        try:
            return self._plan(context, message, decoded)
        except Exception as error:  # whatever shape a client sends, it goes through
            _log.warning("plan_failed", role=message.role, error=type(error).__name__)
            return Plan(transforms=("farm:verbatim:unplanned",)), [], {}

    def _plan(
        self, context: MessageContext, message: Message, decoded: dict[str, Any]
    ) -> tuple[Plan, list[Original], dict[str, str]]:
        reads = list(context.stale.values())
        originals: list[Original] = []
        transforms: tuple[str, ...] = ()
        current = decoded
        if reads:
            current, originals, transforms = self._lifecycle.replace(decoded, reads)
        draft = _Draft(message, transforms, context)
        options = context.options
        rules = self._rules_for(options)
        for place, part in _parts(current):
            planned = rules.plan(
                part,
                calls=context.calls,
                counter=context.counter,
                recent=context.recent,
                analysis=context.analysis,
                min_tokens=options.min_tokens,
                compress_user_messages=options.compress_user_messages,
            )
            before = decoded.get("content") if place is None else decoded["content"][place]
            draft.add(place, before, part, planned, rules)
        return draft.plan([o.hash for o in originals]), originals, draft.texts

    def _rules_for(self, options: PlanOptions) -> Rules:
        key = (options.marker_mode, options.code_aware)
        if key not in self._rules:
            self._rules[key] = Rules(marker_mode=key[0], code_aware=key[1])
        return self._rules[key]


class _Draft:
    """A plan while its message's parts are gone through."""

    def __init__(
        self,
        message: Message,
        transforms: tuple[str, ...],
        context: MessageContext,
    ) -> None:
        self._message = message
        self._context = context
        self._transforms = list(transforms)
        self._candidates: list[Candidate] = []
        self._replacements: list[Replacement] = []
        self._code = False
        self.texts: dict[str, str] = {}

    def add(
        self,
        index: int | None,
        before: Any,
        part: dict[str, Any],
        planned: Planned,
        rules: Rules,
    ) -> None:
        """Take headroom's verdict on one part: a candidate, a replacement, or neither."""
        self._code = self._code or planned.code
        shape, call_id = _shape(index, part)
        if planned.texts:
            text = planned.texts[0]
            call = self._context.calls.get(call_id)
            key = self._key(shape, call, text)
            is_output = is_tool_output(shape, self._message.role)
            free_text = is_output and not planned.fold and rules.needs_model(text)
            model = free_text and self._context.options.marker_mode == "ccr"
            parts = index is not None and isinstance(before.get("content"), list)
            self.texts[key] = text
            self._candidates.append(
                Candidate(
                    key,
                    index,
                    parts,
                    shape,
                    self._message.role,
                    call,
                    "gpu" if model else "cpu",
                    planned.transforms,
                )
            )
            return
        self._transforms += planned.transforms
        after = planned.message.get("content") if index is None else planned.message["content"][0]
        if after != before:
            self._replacements.append(_replacement(index, shape, after))

    def plan(self, originals: list[str]) -> Plan:
        """Return the plan of all parts together."""
        return Plan(
            tuple(self._candidates),
            tuple(self._replacements),
            tuple(originals),
            tuple(self._transforms),
            self._code,
        )

    def _key(self, shape: Shape, call: ToolCall | None, text: str) -> str:
        options = self._context.options
        named = (
            ENGINE_VERSION,
            options.marker_mode,
            options.code_aware,
            options.target_ratio,
            self._context.counter.id,
            shape,
            self._message.role,
            call,
            text.encode("utf-8", "surrogatepass"),
        )
        return blake2b(_pack.encode(named), digest_size=16).hexdigest()


def _parts(message: dict[str, Any]) -> list[tuple[int | None, dict[str, Any]]]:
    """Return the message as headroom's rules take it: whole, or one content block at a time."""
    content = message.get("content")
    if not isinstance(content, list):
        return [(None, message)]
    return [
        (index, {**message, "content": [block]})
        for index, block in enumerate(content)
        if isinstance(block, dict)
    ]


def _shape(index: int | None, part: dict[str, Any]) -> tuple[Shape, str]:
    """Return the shape of a part's text and the id of the call it answers."""
    if index is None:
        return "string", part.get("tool_call_id") or part.get("tool_use_id") or ""
    block = part["content"][0]
    if block.get("type") == "tool_result":
        return "tool_result", block.get("tool_use_id") or ""
    return "text", part.get("tool_call_id") or part.get("tool_use_id") or ""


def _replacement(index: int | None, shape: Shape, after: Any) -> Replacement:
    if index is None:
        return Replacement(None, False, shape, after)
    inner = after["text" if shape == "text" else "content"]
    if isinstance(inner, list):
        return Replacement(index, True, shape, inner[0]["text"])
    return Replacement(index, False, shape, inner)
