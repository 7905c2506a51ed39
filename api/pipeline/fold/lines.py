"""A text as the line index compares it: its lines without numbers and notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .layouts import with_layouts
from .line_numbers import ADDED, Numbering, split_numbers
from .line_prefixes import in_hunks
from .references import Folded, head_lines

_NOTE = re.compile(
    r"<<ccr:|hash=[0-9a-f]{12}|; omitted here\]"
    r"|^\[\.\.\. \d+ (?:lines?|rows?|words?|of the) .* \.\.\.\]$",
    re.MULTILINE,
)
_SIGNS = ("<<ccr:", "hash=", "; omitted", "[... ")
"""A line that contains one of these may be a marker, a reference or an omission note, to which no
reference is made. References to notes of reversible forms are allowed."""


NO_LINE = "\n"
"""Placeholder that equals no line."""


class Text(NamedTuple):
    """A text in lines, for comparison.

    ``keys`` are the lines without numbers (None for a line that is not literal), ``numbers`` their
    printed numbers (0 for none); ``origin`` maps an index to the line's number before folding,
    from 1; ``head`` counts the lines of a harness's head, ``total`` all lines before folding.
    """

    keys: list[str | None]
    numbers: list[int]
    numbering: Numbering | None
    origin: Sequence[int]
    total: int
    chars: int
    head: int


def read(text: str) -> Text:
    """Split a text into lines; the empty string after a final newline does not count as a line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    contents, numbers, numbering = split_numbers(lines, text)
    keys: list[str | None] = list(with_layouts(contents, text))
    total = len(lines)
    origin = range(1, total + 1)
    return Text(keys, numbers, numbering, origin, total, len(text), head_lines(text))


def added_by_diff(text: Text, shown: str) -> Text | None:
    """Return the lines that a diff adds, without their signs; None if the text has no diff.

    Other lines equal none.
    """
    if "\n@@ " not in shown or "\n+" not in shown or text.numbering is not None:
        return None
    lines = [key or "" for key in text.keys]
    added = in_hunks(lines, "+")
    keys: list[str | None] = [
        line[1:] if is_added else NO_LINE for line, is_added in zip(lines, added, strict=True)
    ]
    return text._replace(keys=keys, numbers=[int(one) for one in added], numbering=ADDED)


def literal(folded: Folded) -> Text:
    """Return a folded text's lines without the references, with their original numbers."""
    text = read(folded.text)
    origin: list[int] = []
    skipped = 0
    for reference in folded.references:
        origin.extend(range(len(origin) + 1 + skipped, reference.line + 2 + skipped))
        text.keys[reference.line] = None
        skipped += reference.count - 1
    origin.extend(range(len(origin) + 1 + skipped, text.total + 1 + skipped))
    return text._replace(origin=origin, total=text.total + skipped)


def without_notes(text: Text, shown: str) -> list[str | None]:
    """Return the lines that may be referred to: not a harness's head, a marker or a reference."""
    keys: list[str | None] = [None] * text.head
    keys += text.keys[text.head :]
    # Searching three fixed strings takes a tenth of the pattern's time.
    if any(sign in shown for sign in _SIGNS) and _NOTE.search(shown):
        return [None if key is None or _NOTE.search(key) else key for key in keys]
    return keys
