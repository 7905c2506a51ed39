"""Step 6: put the new texts in their places and leave every other byte as it came.

A changed message is opened only as far as the text that changes: every other value in it
is copied raw, so numbers, unknown fields and their order stay as the caller wrote them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shared.errors import Degraded
from shared.jobs import Form, Shape, engines_of
from shared.upstream import Counter

from .message import HEAVY_MESSAGE_BYTES, Message, Plan, Rendered, count_message, decode

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_blocks = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_COUNTED_BYTES = 4 * HEAVY_MESSAGE_BYTES
"""A new message above this is not counted on the event loop but taken in proportion."""


def render(
    message: Message, plan: Plan, raw: bytes, forms: tuple[Form | None, ...], counter: Counter
) -> Rendered:
    """Return ``message`` as it leaves by ``plan``, given the forms of its candidates in order.

    A form is None where it is not known yet. A message that would cost more tokens than
    its original leaves as the original.
    """
    before = message.tokens[counter.id]
    places = [(r.index, r.parts, r.shape, r.text) for r in plan.replacements]
    transforms = list(plan.transforms)
    shown = list(plan.originals)
    stored = list(plan.originals)
    made_by = list(plan.transforms) if plan.replacements else []
    for candidate, form in zip(plan.candidates, forms, strict=True):
        if form is None or form.text is None:
            transforms += candidate.transforms
            continue
        places.append((candidate.index, candidate.parts, candidate.shape, form.text))
        transforms += form.transforms
        made_by += form.transforms
        shown += form.shown
        stored += form.stored
    if not places:
        return Rendered(plan, forms, None, before, tuple(transforms), (), ())
    try:
        data = _write(raw, places)
    except msgspec.DecodeError:  # only the standard library reads it: a lone surrogate, say
        return Rendered(plan, forms, None, before, ("farm:verbatim:unreadable",), (), ())
    if len(data) <= _COUNTED_BYTES:
        after = count_message(decode(data), counter, len(data))
    else:
        after = before * len(data) // len(raw)
    if after > before:
        return Rendered(plan, forms, None, before, ("farm:verbatim:grew",), (), ())
    return Rendered(
        plan,
        forms,
        data,
        after,
        tuple(transforms),
        tuple(shown),
        tuple(stored),
        engines_of(made_by),
    )


def _write(raw: bytes, places: list[tuple[int | None, bool, Shape, str]]) -> bytes:
    fields: dict[str, Any] = dict(_fields.decode(raw))
    blocks: list[Any] | None = None
    for index, parts, shape, text in places:
        if index is None:
            fields["content"] = text
            continue
        if blocks is None:
            blocks = list(_blocks.decode(fields["content"]))
        block: dict[str, Any] = dict(_fields.decode(blocks[index]))
        if shape == "text":
            block["text"] = text
        else:
            block["content"] = [{"type": "text", "text": text}] if parts else text
        blocks[index] = msgspec.Raw(_encode(block))
    if blocks is not None:
        fields["content"] = blocks
    return _encode(fields)


def join(
    body: bytes, spans: list[tuple[int, int]], rendered: list[Rendered]
) -> tuple[list[bytes], int]:
    """Return the pieces of the ``messages`` array's inside, and how many messages changed.

    Runs of unchanged messages are one slice of the body, separators included.
    """
    if len(spans) != len(rendered):
        raise Degraded("assembly")
    pieces: list[bytes] = []
    changed = 0
    start = end = -1
    for span, item in zip(spans, rendered, strict=True):
        if item.data is None:
            if start < 0:
                start = span[0]
            end = span[1]
            continue
        if start >= 0:
            pieces.append(body[start:end])
            start = -1
        pieces.append(item.data)
        changed += 1
    if start >= 0:
        pieces.append(body[start:end])
    return pieces, changed
