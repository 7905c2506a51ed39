"""Step 2: decide which texts of a conversation may shrink, by headroom's rules.

The rules look at one message at a time and at four things around it: the tool calls it
answers, whether a file it read was edited later, whether it is recent and whether the
user asks about code. So a message's plan is kept until one of the four changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
import structlog

from shared.jobs import Original, Shape, ToolCall
from shared.upstream import ENGINE_VERSION, Counter, Lifecycle, Planned
from shared.upstream import Planner as Rules

from .facts import Candidate, Message, Plan, Replacement

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


class Surroundings:
    """What a conversation's messages are read against: calls, stale reads, intent."""

    def __init__(self, messages: list[Message], lifecycle: Lifecycle | None) -> None:
        self.calls: dict[str, ToolCall] = {}
        edits = []
        for index, message in enumerate(messages):
            if message.calls:
                self.calls.update(message.calls)
                if message.files:
                    edits.append((index, message.files))
        self.stale = lifecycle.classify(edits) if lifecycle and edits else {}
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


class ConversationPlanner:
    """Plans messages; the plans are kept in the messages' facts."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, bool], Rules] = {}
        self._lifecycle = Lifecycle()

    def surroundings(self, messages: list[Message], options: PlanOptions) -> Surroundings:
        """Read what the conversation's messages are planned against."""
        markers = options.marker_mode == "ccr"
        return Surroundings(messages, self._lifecycle if markers else None)

    def key(
        self,
        message: Message,
        around: Surroundings,
        options: PlanOptions,
        counter: Counter,
        recent: bool,
    ) -> object:
        """Return what the message's plan depends on; equal keys mean equal plans."""
        calls = stale = None
        if message.answers:
            calls = tuple([around.calls.get(i) for i in message.answers])
            if around.stale:
                stale = tuple([_state(around, i) for i in message.answers])
        code = (recent, around.analysis) if message.plan.code else None
        return (options, counter.id, calls, stale, code)

    def plan(
        self,
        message: Message,
        decoded: dict[str, Any],
        around: Surroundings,
        options: PlanOptions,
        counter: Counter,
        recent: bool,
    ) -> tuple[Plan, list[Original], dict[str, str]]:
        """Plan one message.

        Returns its plan, the originals to store before the answer leaves, and the texts
        of its candidates by key. A message that headroom's rules cannot read stays as it is.
        """
        try:
            return self._plan(message, decoded, around, options, counter, recent)
        except Exception as error:  # whatever shape a client sends, it goes through
            _log.warning("plan_failed", role=message.role, error=type(error).__name__)
            return Plan(transforms=("farm:verbatim:unplanned",)), [], {}

    def _plan(
        self,
        message: Message,
        decoded: dict[str, Any],
        around: Surroundings,
        options: PlanOptions,
        counter: Counter,
        recent: bool,
    ) -> tuple[Plan, list[Original], dict[str, str]]:
        reads = [around.stale[i] for i in message.answers if i in around.stale]
        originals: list[Original] = []
        transforms: tuple[str, ...] = ()
        current = decoded
        if reads:
            current, originals, transforms = self._lifecycle.replace(decoded, reads)
        draft = _Draft(message, transforms, options, counter)
        calls = {i: c for i in message.answers if (c := around.calls.get(i))}
        rules = self._rules_for(options)
        for index, part in _parts(current):
            planned = rules.plan(
                part,
                calls=calls,
                counter=counter,
                recent=recent,
                analysis=around.analysis,
                min_tokens=options.min_tokens,
                compress_user_messages=options.compress_user_messages,
            )
            before = decoded["content"] if index is None else decoded["content"][index]
            draft.add(index, before, part, planned, calls, rules)
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
        options: PlanOptions,
        counter: Counter,
    ) -> None:
        self._message = message
        self._options = options
        self._counter = counter
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
        calls: dict[str, ToolCall],
        rules: Rules,
    ) -> None:
        """Take headroom's verdict on one part: a candidate, a replacement, or neither."""
        self._code = self._code or planned.code
        shape, call_id = _shape(index, part)
        if planned.texts:
            text = planned.texts[0]
            call = calls.get(call_id)
            key = self._key(shape, call, text)
            is_output = shape == "tool_result" or self._message.role in ("tool", "function")
            free_text = is_output and not planned.fold and rules.needs_model(text)
            model = free_text and self._options.marker_mode == "ccr"
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
        after = planned.message["content"] if index is None else planned.message["content"][0]
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
        options = self._options
        named = (
            ENGINE_VERSION,
            options.marker_mode,
            options.code_aware,
            options.target_ratio,
            self._counter.id,
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


def _state(around: Surroundings, call: str) -> tuple[str, str] | None:
    read = around.stale.get(call)
    return (read.state.value, read.file_path) if read else None
