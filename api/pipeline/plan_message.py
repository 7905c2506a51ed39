"""Step 2: decide which texts of a conversation may shrink, by headroom's rules.

A message is planned once, when it is first sent, depending only on earlier messages: the tool calls
that its results answer, and the user's question at that time. So the plan of a message never
changes with later messages, on any replica.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import structlog

from shared.content import Content, classify
from shared.headroom import ENGINE_VERSION, Planned
from shared.headroom import Planner as Rules
from shared.jobs import Shape, ToolCall, is_tool_output
from shared.policy.rules import ENGINES, REVERSIBLE
from shared.policy.tool_rules import ToolRuling, tool_ruling

from .message import Allowed, Candidate, Message, Place, Plan
from .plan_options import PlanOptions
from .planning_context import MessageContext

_log = structlog.get_logger(__name__)
_pack = msgspec.msgpack.Encoder()
_LOSING_NOTHING = frozenset(
    {
        "router:protected:recent_code",
        "router:protected:analysis_context",
        "router:protected:error_output",
    }
)
"""Verdicts of headroom on texts that may lose no line."""
_SHOWING_FAILURES = ("log", "test_run")
"""Kinds of which lines may go even if the tool failed: what failed stays in sight."""
_EXCLUDED = "router:excluded:tool"
_MIN_BLOCK_CHARS = 500
"""Headroom's minimum size of a content block, in characters."""
MIN_CHARS = 200
"""Minimum size of a text, in characters, for a lossless form: below it, the form's note costs more
than the form saves."""


class ConversationPlanner:
    """Plans messages; the plans are kept with the messages."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, bool], Rules] = {}

    def plan(
        self, context: MessageContext, message: Message, decoded: dict[str, Any]
    ) -> tuple[Plan, dict[str, str]]:
        """Plan a message in its context.

        Returns its plan and the texts of its candidates by key. A message that headroom's rules
        cannot read is left unchanged.
        """
        try:
            return self._plan(context, message, decoded)
        except Exception as error:  # unusual shapes are sent unchanged
            _log.warning("plan_failed", role=message.role, error=type(error).__name__)
            return Plan(transforms=("farm:verbatim:unplanned",)), {}

    def _plan(
        self, context: MessageContext, message: Message, decoded: dict[str, Any]
    ) -> tuple[Plan, dict[str, str]]:
        draft = _Draft(message, context)
        options = context.options
        rules = self._rules_for(options)
        for place, part in texts_of(decoded):
            planned = rules.plan(
                part,
                calls=context.calls,
                counter=context.counter,
                # New messages count as recent, and decisions are kept: age never changes a form.
                recent=options.protect_recent > 0,
                analysis=context.analysis,
                min_tokens=options.min_tokens // options.press,
                min_chars=_MIN_BLOCK_CHARS // options.press,
                compress_user_messages=options.compress_user_messages,
                protect_analysis=options.protect_analysis,
                compress_system_messages=options.compress_system,
            )
            draft.add(place, part, planned)
        return draft.plan(), draft.texts

    def _rules_for(self, options: PlanOptions) -> Rules:
        key = (options.marker_mode, options.code_aware)
        if key not in self._rules:
            self._rules[key] = Rules(marker_mode=key[0], code_aware=key[1])
        return self._rules[key]


class _Draft:
    """A plan under construction, to which a message's parts are added."""

    def __init__(self, message: Message, context: MessageContext) -> None:
        self._message = message
        self._context = context
        self._transforms: list[str] = []
        self._candidates: list[Candidate] = []
        self.texts: dict[str, str] = {}

    def add(self, place: Place, part: dict[str, Any], planned: Planned) -> None:
        """Add headroom's verdict on one part: a candidate, or why it stays unchanged.

        A text that is too small for headroom may still get a lossless form.
        """
        shape, call_id, text = _shape(place, part)
        role = self._message.role
        call = self._context.calls.get(call_id)
        may: Allowed = "engine" if planned.texts else "stay"
        pool = "cpu"
        ruling = tool_ruling(self._context.options.tools, call.name if call else "")
        if is_tool_output(shape, role) and len(text) >= MIN_CHARS:
            content = classify(text, call, self._context.options.press)
            options = self._context.options
            lossy = content.may_lose(options.marker_mode, code_aware=options.code_aware)
            lossy = lossy and (content.kind in _SHOWING_FAILURES or not _failed(part))
            may = _allowed(part, planned, content, lossy=lossy)
            if may == "stay" and options.fold_reads and _excluded(planned):
                may = "fold"
            if may == "engine" and content.pool == "gpu":
                pool = "cpu" if "text" in ruling.without else "gpu"
        if may != "stay" and (may := _ruled(may, ruling)) == "stay":
            self._transforms.append("farm:verbatim:policy")
            return
        if may == "stay":
            self._transforms += planned.transforms
            return
        without = tuple(sorted(ruling.without))
        key = self._key(shape, call, text, may, without)
        self.texts[key] = text
        self._candidates.append(
            Candidate(
                key,
                place,
                shape,
                role,
                call_id,
                call,
                pool,
                may,
                planned.transforms,
                without,
                ruling.fold,
            )
        )

    def plan(self) -> Plan:
        """Return the plan of all parts together."""
        return Plan(tuple(self._candidates), tuple(self._transforms))

    def _key(
        self,
        shape: Shape,
        call: ToolCall | None,
        text: str,
        may: Allowed,
        without: tuple[str, ...],
    ) -> str:
        options = self._context.options
        named = (
            ENGINE_VERSION,
            options.marker_mode,
            options.code_aware,
            options.target_ratio,
            options.press,
            self._context.counter.id,
            self._context.query.encode("utf-8", "surrogatepass"),
            shape,
            self._message.role,
            call,
            may,
            without,
            text.encode("utf-8", "surrogatepass"),
        )
        return blake2b(_pack.encode(named), digest_size=16).hexdigest()


def _failed(part: dict[str, Any]) -> bool:
    """Return whether the client says of the part's result that the tool failed."""
    content = part.get("content")
    block = content[0] if isinstance(content, list) else part
    return isinstance(block, dict) and block.get("is_error") is True


def _ruled(may: Allowed, ruling: ToolRuling) -> Allowed:
    """Return ``may`` as restricted by the policy's rules for the tool."""
    if not ruling.touched:
        return "stay"
    if (may == "reversible" and ruling.without.issuperset(REVERSIBLE)) or (
        may == "engine" and ruling.without.issuperset(ENGINES)
    ):
        may = "fold"
    return "stay" if may == "fold" and not ruling.fold else may


def _excluded(planned: Planned) -> bool:
    """Return whether headroom excludes the text because of the tool that printed it."""
    return _EXCLUDED in planned.transforms


def _allowed(part: dict[str, Any], planned: Planned, content: Content, *, lossy: bool) -> Allowed:
    """Return which changes a tool's output allows, by headroom's verdict and the kind of text.

    Headroom protects code and errors from losing lines. References to equal earlier lines lose
    none, so these texts may be folded: a failing test prints similar output when it is run again.
    """
    verdict = frozenset(planned.transforms)
    exactly: Allowed = "reversible" if content.exactly else "fold"
    if planned.texts:
        only_folds = planned.fold and len(planned.texts) == 1
        return "engine" if lossy and not only_folds else exactly
    if verdict & _LOSING_NOTHING:
        return exactly
    changed = planned.message.get("content") != part.get("content")
    return exactly if changed or not verdict else "stay"


def texts_of(message: dict[str, Any]) -> list[tuple[Place, dict[str, Any]]]:
    """Return a message's texts with their places, each in the shape that headroom's rules accept.

    A part is a message with one content block, and a tool result in it has one text: parts are
    never joined. Cache marks are left out, because they protect no text.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return [(Place(None, None), message)]
    found: list[tuple[Place, dict[str, Any]]] = []
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            continue
        plain = {k: v for k, v in block.items() if k != "cache_control"}
        inner = block.get("content")
        if block.get("type") == "tool_result" and isinstance(inner, list):
            for number, part in enumerate(inner):
                text = part.get("text") if isinstance(part, dict) else None
                if isinstance(text, str) and part.get("type") == "text":
                    one = {**message, "content": [{**plain, "content": text}]}
                    found.append((Place(index, number), one))
            continue
        found.append((Place(index, None), {**message, "content": [plain]}))
    return found


def _shape(place: Place, part: dict[str, Any]) -> tuple[Shape, str, str]:
    """Return the shape of a part's text, the id of the call it answers, and the text."""
    call_id = part.get("tool_call_id") or part.get("tool_use_id") or ""
    if place.block is None:
        return "string", call_id, _text(part.get("content"))
    block = part["content"][0]
    if block.get("type") == "tool_result":
        return "tool_result", block.get("tool_use_id") or "", _text(block.get("content"))
    return "text", call_id, _text(block.get("text"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
