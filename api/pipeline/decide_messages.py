"""Step 6, first half: decide how each new message is sent, in the conversation's order."""

from __future__ import annotations

import asyncio
import time

from shared.jobs import engines_of, is_tool_output
from shared.originals_in_redis import digest_of

from .conversation import ALL_LEFT, Change, Conversation, Lost, Sent
from .form_or_reference import Decision, decide_block, settles
from .message import HEAVY_MESSAGE_BYTES, VERBATIM, Candidate, Place
from .render import render
from .request_context import RequestContext

_ALL = frozenset({ALL_LEFT})
_MARKER = "\n[Nothing is missing. Retrieve original: hash={}]"
_MARKED_CHARS = 600
"""Minimum number of characters that references or rows must save for a marker (about 50
characters) to be added."""
_ROWS = "farm_records"
_SLICE_SECONDS = 0.005
"""Seconds of this work between yields to other requests."""


async def decide_messages(turn: RequestContext, *, final: bool) -> None:
    """Decide the messages that are new to the conversation.

    Before the forms have arrived (not ``final``) this stops at the first message that needs one;
    messages that are folded or sent unchanged need none. ``final`` decides all messages with the
    available forms.
    """
    conversation = turn.conversation
    async with conversation.lock:
        at = conversation.shared_with(turn.chains)
        if at < min(len(turn.chains), len(conversation.chains)):
            conversation.cut(at)
        until = time.monotonic() + _SLICE_SECONDS
        while at < len(turn.messages):
            sent = turn.before[at] if at < turn.known else _decided(turn, conversation, at, final)
            if sent is None:
                return
            if sent.changes:  # later messages may only refer to text that is actually sent
                marks, counter = turn.marks[at], turn.counter
                render(turn.messages[at], sent, turn.raw(at), marks, counter)
            conversation.append(turn.chains[at], sent)
            at += 1
            if time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + _SLICE_SECONDS


def _decided(
    turn: RequestContext, conversation: Conversation, index: int, final: bool
) -> Sent | None:
    """Return how message ``index`` is sent; None if it must wait for a form."""
    plan = turn.plans[index]
    unread = bool(turn.messages[index].unread)
    if not plan.candidates:
        skipped = plan is VERBATIM and (unread or index in turn.unplanned)
        return Sent(transforms=plan.transforms, left=_ALL if skipped else frozenset())
    before = turn.left.get(turn.chains[index], frozenset())
    if ALL_LEFT in before:
        return Sent(transforms=plan.transforms, left=before)
    _show(turn, conversation, index)
    decisions: list[Decision] = []
    left: set[int] = set()
    for number, candidate in enumerate(plan.candidates):
        stays = number in before
        known = None if stays else turn.session.forms.get(candidate.key)
        needs_text = _foldable(turn, index, candidate)
        text = turn.text(index, candidate) if needs_text else ""
        folded = conversation.index.fold(text, candidate.call_id) if needs_text else None
        if known is None and candidate.may != "fold" and not settles(text, folded):
            if not final and not stays:
                return None
            left.add(number)
        form = known.text if known is not None else None
        # A form with omissions must not be folded too: only reversible forms may have references.
        fits = known is not None and not (known.lossy or known.shown) and needs_text
        refolded = (
            conversation.index.fold(form, candidate.call_id, written=True)
            if fits and form
            else None
        )
        decisions.append(decide_block(candidate, text, known, folded, refolded))
    return _sent(turn, index, decisions, frozenset(left))


def _marked(turn: RequestContext, index: int, candidate: Candidate, decision: Decision) -> str:
    """Return the hash of the original if its references or rows get a marker, else an empty string.

    Neither loses anything; with the marker the text can also be retrieved unchanged.
    """
    form = decision.form
    if form is None:
        marked = decision.folded is not None
    else:
        marked = not form.shown and any(_ROWS in name for name in form.transforms)
    light = turn.messages[index].size <= HEAVY_MESSAGE_BYTES
    if not marked or turn.options.mode != "ccr" or not light or decision.text is None:
        return ""
    text = turn.text(index, candidate)
    return digest_of(text) if len(text) - len(decision.text) >= _MARKED_CHARS else ""


def _foldable(turn: RequestContext, index: int, candidate: Candidate) -> bool:
    """Return whether a text may refer to earlier ones; texts of heavy messages may not."""
    return (
        turn.options.fold
        and candidate.fold
        and turn.messages[index].size <= HEAVY_MESSAGE_BYTES
        and is_tool_output(candidate.shape, candidate.role)
    )


def _show(turn: RequestContext, conversation: Conversation, index: int) -> None:
    """Add all messages before ``index`` to the index, so that it may refer to them."""
    while conversation.shown < index:
        at = conversation.shown
        facts = turn.messages[at]
        readable = not facts.unread and facts.size <= HEAVY_MESSAGE_BYTES
        conversation.show(turn.message(at) if readable and turn.options.fold else None)


def _sent(
    turn: RequestContext, index: int, decisions: list[Decision], left: frozenset[int]
) -> Sent:
    plan = turn.plans[index]
    changes: list[Change] = []
    transforms = list(plan.transforms)
    shown: dict[str, Place] = {}
    made_by: list[str] = []
    keys: list[str] = []
    unstored: set[str] = set()
    lost: list[Lost] = []
    for candidate, decision in zip(plan.candidates, decisions, strict=True):
        if decision.text is None:
            form = turn.session.forms.get(candidate.key)
            transforms += (form.transforms if form is not None else ()) or candidate.transforms
            continue
        text, folded = decision.text, decision.folded
        digest = _marked(turn, index, candidate, decision)
        if digest:
            text += _MARKER.format(digest)
            shown[digest] = candidate.place
            unstored.add(digest)
        changes.append(Change(candidate.place, candidate.shape, text, folded))
        if folded is not None:
            transforms.append("router:fold")
            made_by.append("router:fold")
        if decision.form is None:
            continue
        transforms += decision.form.transforms
        made_by += decision.form.transforms
        keys.append(candidate.key)
        shown.update(dict.fromkeys(decision.form.shown, candidate.place))
        for engine in engines_of(decision.form.transforms)[:1]:
            lost += [_lost(candidate, engine, digest) for digest in decision.form.shown[:1]]
    return Sent(
        tuple(changes),
        tuple(transforms),
        shown,
        engines_of(made_by),
        left,
        frozenset(unstored),
        keys=tuple(keys),
        lost=tuple(lost),
    )


def _lost(candidate: Candidate, engine: str, digest: str) -> Lost:
    tool = candidate.call.name if candidate.call is not None else ""
    return Lost(candidate.call_id, tool, engine, digest)
