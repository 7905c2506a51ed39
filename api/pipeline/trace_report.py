"""What became of each text of a traced request, and why: detector, pool, cache, engine."""

from __future__ import annotations

from typing import Any

from shared.jobs import Form, engines_of
from shared.upstream import detect

from .context import RequestContext
from .message import HEAVY_MESSAGE_BYTES, Candidate, Rendered
from .trace import Trace

_KEPT = ("protected", "excluded", "verbatim")


def observe(trace: Trace, turn: RequestContext, rendered: list[Rendered]) -> None:
    """Write into ``trace`` what the turn's messages leave as.

    A block's ``source`` says where its form is from: ``front_end`` (known to this process),
    ``session_cache`` (Redis), ``engine`` (made now), or None: it stayed as it came.
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
            "blocks": [_block(trace, turn, index, candidate) for candidate in item.plan.candidates],
        }
        for index, (message, item) in enumerate(zip(turn.messages, rendered, strict=True))
    ]


def _kept_because(item: Rendered) -> list[str]:
    """Return the rules that kept parts of a message as they came, in headroom's words."""
    return [t for t in item.transforms if any(word in t for word in _KEPT)]


def _block(trace: Trace, turn: RequestContext, index: int, candidate: Candidate) -> dict[str, Any]:
    form = turn.session.forms.get(candidate.key)
    fresh = candidate.key in turn.fresh
    source = None
    if form is not None:
        known = "session_cache" if candidate.key in trace.unknown else "front_end"
        source = "engine" if fresh else known
        outcome: str = form.outcome
        transforms = form.transforms
    else:
        outcome = "failed" if fresh and "engine" in turn.degraded else "not_done"
        transforms = candidate.transforms
    return {
        **_reading(turn, index, candidate, form),
        "pool": candidate.pool,
        "outcome": outcome,
        "source": source,
        "engines": list(engines_of(transforms)) if form is not None else [],
        "engine_ms": form.engine_ms if form is not None else None,
        "transforms": list(transforms),
        "hashes": list(form.shown) if form is not None else [],
    }


def _reading(
    turn: RequestContext, index: int, candidate: Candidate, form: Form | None
) -> dict[str, Any]:
    """Return what the detector said and the text's tokens; a heavy text is not looked at again."""
    found = turn.detections.get(candidate.key)
    before = after = None
    if turn.messages[index].size <= HEAVY_MESSAGE_BYTES:
        text = turn.text(index, candidate)
        found = found or detect(text)
        before = after = turn.counter.count_text(text)
        if form is not None and form.text is not None:
            after = turn.counter.count_text(form.text)
    return {
        "detected": found.content_type if found else None,
        "confidence": found.confidence if found else None,
        "mixed": found.mixed if found else None,
        "tokens_before": before,
        "tokens_after": after,
    }
