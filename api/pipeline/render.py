"""Step 6: insert the new texts and leave every other byte unchanged.

A changed message is parsed only down to the changed text: every other value is copied as raw bytes,
so numbers, unknown fields and their order stay as the caller wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from shared.errors import Degraded
from shared.headroom import Counter

from .conversation import Change, Sent
from .message import HEAVY_MESSAGE_BYTES, Message, count_message, decode

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_blocks = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_COUNTED_BYTES = 4 * HEAVY_MESSAGE_BYTES
"""Maximum size of a new message, in bytes, whose tokens are counted; those of larger ones are
estimated in proportion to their size."""


def render(message: Message, sent: Sent, raw: bytes, marks: bytes, counter: Counter) -> None:
    """Write ``message`` as sent into ``sent``, from its bytes ``raw`` with cache marks ``marks``.

    A message that would cost more tokens than its original is sent as the original from then on.
    """
    before = message.tokens[counter.id]
    if not sent.changes:
        sent.data, sent.tokens = None, before
        return
    if sent.data is not None and sent.marks == marks:
        return
    try:
        data = _write(raw, sent.changes)
    except msgspec.DecodeError:  # only the standard library reads it, e.g. a lone surrogate
        _leave(sent, before, "farm:verbatim:unreadable")
        return
    if sent.tokens is None:
        if len(data) <= _COUNTED_BYTES:
            sent.tokens = count_message(decode(data), counter, len(data))
        else:
            sent.tokens = before * len(data) // len(raw)
        if sent.tokens > before:
            _leave(sent, before, "farm:verbatim:grew")
            return
    sent.data, sent.marks = data, marks


def _leave(sent: Sent, tokens: int, why: str) -> None:
    sent.changes, sent.shown, sent.engines, sent.keys, sent.lost = (), {}, (), (), ()
    sent.data, sent.tokens, sent.transforms = None, tokens, (why,)


def _write(raw: bytes, changes: tuple[Change, ...]) -> bytes:
    fields: dict[str, Any] = dict(_fields.decode(raw))
    name = "output" if "content" not in fields and "output" in fields else "content"
    blocks: list[Any] | None = None
    for change in changes:
        block, part = change.place
        if block is None:
            fields[name] = change.text
            continue
        if blocks is None:
            blocks = list(_blocks.decode(fields[name]))
        opened: dict[str, Any] = dict(_fields.decode(blocks[block]))
        if part is not None:
            parts: list[Any] = list(_blocks.decode(opened["content"]))
            inner: dict[str, Any] = dict(_fields.decode(parts[part]))
            inner["text"] = change.text
            parts[part] = msgspec.Raw(_encode(inner))
            opened["content"] = parts
        else:
            opened["text" if change.shape == "text" else "content"] = change.text
        blocks[block] = msgspec.Raw(_encode(opened))
    if blocks is not None:
        fields[name] = blocks
    return _encode(fields)


def join(
    body: bytes, spans: list[tuple[int, int]], sent: Sequence[Sent]
) -> tuple[list[bytes], int]:
    """Return the pieces of the content of the ``messages`` array, and how many messages changed.

    Runs of unchanged messages are one slice of the body, separators included.
    """
    if len(spans) != len(sent):
        raise Degraded("assembly")
    pieces: list[bytes] = []
    changed = 0
    start = end = -1
    for span, item in zip(spans, sent, strict=True):
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
