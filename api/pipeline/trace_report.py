"""Reports the result of each text of a traced request, and why: detector, pool, cache, engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.content import classify
from shared.headroom import detect
from shared.jobs import Form, engines_of

from .conversation import Change, Sent
from .message import HEAVY_MESSAGE_BYTES, Candidate, Plan
from .request_context import RequestContext
from .trace import Trace

_KEPT = ("protected", "excluded", "verbatim")


def observe(trace: Trace, turn: RequestContext, sent: Sequence[Sent]) -> None:
    """Write into ``trace`` how the request's messages are sent.

    A block's ``source`` is the origin of its form: ``front_end`` (this process's memory),
    ``session_cache`` (Redis), ``engine`` (computed now), ``conversation`` (it refers to earlier
    text), or None if the text is unchanged.
    """
    name = turn.counter.id
    trace.messages = [
        {
            "index": index,
            "role": message.role,
            "tokens_before": message.tokens[name],
            "tokens_after": item.tokens,
            "changed": item.data is not None,
            "transforms": list(item.transforms),
            "kept_because": _kept_because(item),
            "blocks": [
                _block(trace, turn, index, candidate, item)
                for candidate in _plan(turn, index).candidates
            ],
        }
        for index, (message, item) in enumerate(zip(turn.messages, sent, strict=True))
    ]


def _plan(turn: RequestContext, index: int) -> Plan:
    """Return a message's plan: the conversation's own messages are not planned again."""
    return turn.messages[index].plan if index < turn.known else turn.plans[index]


def _kept_because(item: Sent) -> list[str]:
    """Return the rules that kept parts of a message unchanged, by headroom's names."""
    return [t for t in item.transforms if any(word in t for word in _KEPT)]


def _block(
    trace: Trace, turn: RequestContext, index: int, candidate: Candidate, item: Sent
) -> dict[str, Any]:
    form = turn.session.forms.get(candidate.key)
    fresh = candidate.key in turn.fresh
    change = next((c for c in item.changes if c.place == candidate.place), None)
    source = None
    transforms: tuple[str, ...]
    if change is not None and change.folded is not None:
        source, outcome, transforms = "conversation", "compressed", ("router:fold",)
    elif form is not None:
        known = "session_cache" if candidate.key in trace.unknown else "front_end"
        source = "engine" if fresh else known
        outcome, transforms = str(form.outcome), form.transforms
    else:
        outcome = "failed" if fresh and "engine" in turn.degraded else "not_done"
        transforms = candidate.transforms
    return {
        **_reading(turn, index, candidate, form, change),
        "pool": candidate.pool,
        "outcome": outcome,
        "source": source,
        "engines": list(engines_of(transforms)),
        "engine_ms": form.engine_ms if form is not None else None,
        "transforms": list(transforms),
        "hashes": list(form.shown) if form is not None else [],
    }


def _reading(
    turn: RequestContext,
    index: int,
    candidate: Candidate,
    form: Form | None,
    change: Change | None,
) -> dict[str, Any]:
    """Return the text's detected kind and its tokens; a heavy text is not read again."""
    found = before = after = content = None
    if turn.messages[index].size <= HEAVY_MESSAGE_BYTES:
        text = turn.text(index, candidate)
        found = detect(text)
        content = classify(text, candidate.call)
        before = after = turn.counter.count_text(text)
        if change is not None:
            after = turn.counter.count_text(change.text)
    return {
        "detected": found.content_type if found else None,
        "confidence": found.confidence if found else None,
        "kind": content.kind if content else None,
        "evidence": list(content.evidence) if content else [],
        "unfaithful": form.unfaithful if form is not None else "",
        "tokens_before": before,
        "tokens_after": after,
    }
