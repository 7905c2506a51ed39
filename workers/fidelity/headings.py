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
_SECTION = re.compile(
    r"[=\-#*>~<+_─═━]{2,} ?\S|[#$+>%●○] \S|\[[^\]]{1,80}\]$|\w{1,40}=\S+$"
    r"|[^\s:]{1,80}(?: [^\s:]{1,40}){0,4}:$|.{1,120}[ \])][*=_~-]{4,}$|\S.{1,80}\.\.\.$"
    r"|(?=\d)(?:\d{2,4}[-/.]\d\d[-/.]\d{2,4}[T ]?)?(?:\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?"
    r"(?: ?(?:Z|[AP]M|[+-]\d\d:?\d\d|[A-Z]{3,4}))?$|(?:[A-Z][a-z]{2} ){1,2}[ \d]\d .{0,30}\d{4}$"
    r"|\w+ - \d\d:\d\d:\d\d\b|Step \d+/\d+ :"
)
"""A line that stands above others of its section, as a loop prints a host's name above its output,
or a program the time."""
_RULE = re.compile(r"[=\-#*~_─═━]{4,}$")
_LONGEST_HEAD, _HIGHEST_HEAD = 200, 4
_LEAST_HEADS, _MOST_HEADS = 2, 0.5
"""Heads of sections, and the share of lines up to which they are heads of others."""


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


def with_sections(lines: Sequence[str], shown: Collection[int]) -> set[int]:
    """Return the ``shown`` lines with the heads of their sections."""
    heads = [_is_head(lines, place) for place in range(len(lines))]
    begun = sum(1 for place, head in enumerate(heads) if head and not (place and heads[place - 1]))
    found = set(shown)
    if not _LEAST_HEADS <= begun <= _MOST_HEADS * len(lines):
        return found
    above: list[int] = []
    for place, head in enumerate(heads):
        if head:
            above = [*above, place][:_HIGHEST_HEAD] if place and heads[place - 1] else [place]
        if place in shown:
            found.update(above)
    return found


def _is_head(lines: Sequence[str], place: int) -> bool:
    line = lines[place]
    if not line or line[0].isspace() or len(line) > _LONGEST_HEAD:
        return False
    if _SECTION.match(line):
        return True
    between = 0 < place < len(lines) - 1 and lines[place - 1] == lines[place + 1]
    return between and _RULE.match(lines[place - 1]) is not None


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
