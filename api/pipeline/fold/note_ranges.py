"""Keeps the notes of a form together with the lines that they are about, where it is folded.

``[... each of the next 12 lines begins with "web-" ...]`` and a JSON table's ``[40]{"id","name"}``
say how the lines below them are read. A reference that hides such a line, but not all that it is
about, would leave lines in sight that look like whole ones. Rows that begin with three dots do not:
they say that their layout stands above, if need be where the reference points to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_BEGIN = re.compile(r"\[\.\.\. each of the next (\d+) lines begins with ")
_TABLE = re.compile(r"\[(\d+)\]\{")


class Scope(NamedTuple):
    """A note at line ``at``, and the end of the lines below that it is about."""

    at: int
    end: int


def scopes_of(lines: Sequence[str]) -> list[Scope]:
    """Return the notes of a form with the lines that they are about, in order."""
    found: list[Scope] = []
    for at, line in enumerate(lines):
        note = (_BEGIN.match(line) or _TABLE.match(line)) if line[:1] == "[" else None
        if note is not None:
            found.append(Scope(at, at + 1 + int(note[1])))
    return found


def uncut(scopes: Sequence[Scope], first: int, end: int) -> tuple[int, int]:
    """Return the part of the lines from ``first`` to ``end`` that cuts no note off its lines.

    The larger part of the lines stays: those before a note, or some of those that it is about.
    """
    for scope in scopes:
        if scope.at >= end:
            break
        if scope.at < first or scope.end <= end:
            continue
        if scope.at - first > end - scope.at:
            end = scope.at
        else:
            first = scope.at + 1
    return first, end
