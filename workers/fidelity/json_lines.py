"""JSON objects, one a line, with the keys of like ones in a row said once, and back."""

from __future__ import annotations

import re
from typing import Any

from . import omission_notes as notes
from .json_form import FLAT, Object, Style, parsed, table_of, written
from .reversible import ReversibleForm

_HEADER = re.compile(r"\[(\d+)\]\{.*\}")
_LEAST_LINES = 8
_NOTE = notes.fewer("one object a line, repeated keys")
_STYLES = (FLAT, Style(None, ",", ":", ""), Style(None, ",", ": ", ""))


def holds_lines(text: str) -> bool:
    """Return whether ``text`` looks like objects, one a line."""
    lines = text.rstrip("\n").split("\n")
    return len(lines) >= _LEAST_LINES and all(x[:1] == "{" and x[-1:] == "}" for x in lines[:9])


def shortened_lines(text: str) -> ReversibleForm | None:
    """Return ``text`` with a table for each run of lines that are objects with the same keys."""
    lines = text.split("\n")
    trees: list[Any] = [parsed(line) if line[:1] == "{" else None for line in lines]
    style = next((s for s in _STYLES if trees[0] and written(trees[0], s) == lines[0]), None)
    if style is None:
        return None
    out = [_NOTE]
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and _like(trees[at], trees[end]):
            end += 1
        table = table_of(trees[at:end])
        out += table if table is not None else [lines[at]]
        at = end if table is not None else at + 1
    made = "\n".join(out)
    # Rows of the tables may pay where the tables themselves only pay for a part of the note.
    pays = len(made) < len(text) + len(_NOTE)
    return ReversibleForm(made, _inverse(style), "farm_json") if pays else None


def _like(one: Any, other: Any) -> bool:
    if not (isinstance(one, Object) and isinstance(other, Object)):
        return False
    return [key for key, _ in one.pairs] == [key for key, _ in other.pairs]


def _inverse(style: Style) -> Any:
    def unfolded(result: str) -> str:
        lines = result.split("\n")
        if lines[0] != _NOTE:
            raise ValueError("no note")
        out: list[str] = []
        at = 1
        while at < len(lines):
            head = _HEADER.fullmatch(lines[at])
            end = at + 1 + (int(head[1]) if head else 0)
            if head:
                rows = parsed("\n".join(lines[at:end]))
                if rows is None:
                    raise ValueError("no rows")
                out += [written(row, style) for row in rows]
            else:
                out.append(lines[at])
            at = end
        return "\n".join(out)

    return unfolded
