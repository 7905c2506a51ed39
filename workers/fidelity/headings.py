"""What stands above a line and says whose it is: in an extract, no line is shown below another's.

A file below its folder, a commit's files below its message, what a person did below the name: with
a note of omitted lines between, each would seem to belong to the last heading in sight.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_LEAD = re.compile(r"(?:\s|│|[├└]──|[|`]--|\|(?=[\s\xa0]{3}))*")
"""What stands before a line that is below another: blanks, or the branches of a drawn tree."""
_GRAPH = re.compile(r"(?:[*|\\/_] ?)*")
_COMMIT = re.compile(r"commit [0-9a-f]{7,40}\b")
_MESSAGE = "    "


def with_headings(lines: Sequence[str], shown: Collection[int]) -> set[int]:
    """Return the ``shown`` lines with those that they are below of, by their indentation."""
    found = set(shown)
    around: list[tuple[int, int]] = []
    """The headings of this line, each with its depth and its place."""
    for place, line in enumerate(lines):
        lead = _LEAD.match(line)
        depth = lead.end() if lead is not None else 0
        if depth == len(line):
            continue
        while around and around[-1][0] >= depth:
            around.pop()
        # Numbers that are aligned to the right are a column.
        number = line[depth].isdigit()
        while number and around and lines[around[-1][1]][around[-1][0]].isdigit():
            around.pop()
        if place in found:
            found.update(above for _, above in around)
        around.append((depth, place))
    return found


def of_commits(lines: Sequence[str]) -> set[int]:
    """Return the lines of a history that say of each commit whose it is, and its message."""
    found: set[int] = set()
    inside = ""
    for place, line in enumerate(lines):
        graph = _GRAPH.match(line)
        rest = line[graph.end() :] if graph is not None else line
        if _COMMIT.match(rest):
            inside = "head"
        elif inside == "head" and not rest.strip():
            inside = "message"
        elif inside == "message" and rest.strip() and not rest.startswith(_MESSAGE):
            inside = ""
        if inside and rest.strip():
            found.add(place)
    return found
