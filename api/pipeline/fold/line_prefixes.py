"""Recognizes sources that print a file's lines with prefixes, and removes the prefixes.

``git blame`` prints a commit and a number before each line, a diff a sign, ``grep -n`` a path and a
number. A later text that prints the file itself may refer to these lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

Name = Literal["", "blame", "diff", "grep"]

_BEFORE: dict[Name, re.Pattern[str]] = {
    # Also the farm's forms of it: without author and time, or without the commit.
    "blame": re.compile(
        r"(?:\.{3})?(?:\^?[0-9a-f]{7,40}(?: .{0,120}?\(.{0,80}? \d{4}-\d\d-\d\d \S+ [+-]\d{4})?)?"
        r" +(\d{1,9})\) ?"
    ),
    "diff": re.compile(r"[+ ]"),
    "grep": re.compile(r"(?:[^\s:]{1,200}?[:-])?([1-9]\d{0,8})[:-]"),
}
_LEAST_NUMBERED = 0.6
"""Minimum share of lines whose number is that of the line before plus one."""


class View(NamedTuple):
    """A source's lines as in the file: None for lines that are not the file's.

    ``numbers`` are those printed before the lines; if none are printed, the lines are counted.
    """

    name: Name
    keys: list[str | None]
    numbers: list[int]


def bare(line: str, name: Name) -> str:
    """Return a line of a source without its prefix.

    Raises:
        ValueError: the line has no such prefix.
    """
    found = _BEFORE[name].match(line)
    if found is None:
        raise ValueError("the line has no such prefix")
    return line[found.end() :]


def view_of(lines: Sequence[str], head: int) -> View | None:
    """Return the view of a source, whose first ``head`` lines are a harness's; None without one."""
    for line in lines[head : head + 2]:
        if line.startswith(("diff --git ", "--- ", "commit ")):
            return _of_diff(lines)
    for name in ("blame", "grep"):
        if any(_BEFORE[name].match(line) for line in lines[head : head + 3]):
            return _numbered(lines, name)
    return None


def _numbered(lines: Sequence[str], name: Name) -> View | None:
    keys: list[str | None] = []
    numbers: list[int] = []
    steps = 0
    for line in lines:
        found = _BEFORE[name].match(line)
        keys.append(line[found.end() :] if found is not None else None)
        number = int(found[1]) if found is not None else 0
        steps += bool(numbers and number and numbers[-1] == number - 1)
        numbers.append(number)
    return View(name, keys, numbers) if steps >= _LEAST_NUMBERED * len(lines) else None


def in_hunks(lines: Sequence[str], signs: str) -> list[bool]:
    """Return for each line of a diff whether it stands in a hunk and begins with one of signs."""
    found: list[bool] = []
    inside = False
    for line in lines:
        if line.startswith("@@ "):
            inside = True
        elif line.startswith(("diff ", "commit ")):
            inside = False
        found.append(inside and line[:1] != "" and line[:1] in signs)
    return found


def _of_diff(lines: Sequence[str]) -> View | None:
    """Return the new side of a diff: the added and the unchanged lines of its hunks."""
    good = in_hunks(lines, "+ ")
    keys = [line[1:] if is_good else None for line, is_good in zip(lines, good, strict=True)]
    if not any(keys):
        return None
    return View("diff", keys, list(range(1, len(lines) + 1)))
