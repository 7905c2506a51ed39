"""Tells lines of forms apart that are equal, but are read by different notes above them.

``...web-1 4`` is a row of values: of which words depends on the line below the rows' note. A
``Running`` pod's row may equal a ``Pending`` one's, so rows are compared together with that line.
The same holds for lines whose beginning is said above them, for the rows of JSON tables, and for
matches below their path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from zlib import crc32

SIGN = "\0"
"""Stands between a line and its layout, in a key."""
_SIGNS = ("[... rows", "[... each ", "]{")
_ROW = "..."
_ROWS = re.compile(r"\[\.\.\. rows (\d+): \d+ (?:line|block)s? (?:is|are) like the next (\w+)")
_NAMED = re.compile(r"\[\.\.\. rows by name: the next (\d+) line")
_NAME = re.compile(r"\.\.\.\w+")
_AGAIN = re.compile(r"\[\.\.\. rows (\d+) again: ")
_BEGIN = re.compile(r'\[\.\.\. each of the next (\d+) lines begins with (".*"), omitted')
_TABLE = re.compile(r"\[(\d+)\](\{.*\})")
_PATHS = "[... each path is said once, "
_MATCH = re.compile(r"\d+[:-]")


def with_layouts(lines: Sequence[str], text: str) -> list[str]:
    """Return the ``lines`` of ``text``, those that a note above explains with how it does that."""
    if not any(sign in text for sign in _SIGNS):
        return list(lines)
    return [f"{line}{SIGN}{crc32(how.encode()):x}" if how else line for line, how in _read(lines)]


def without_layout(key: str) -> str:
    """Return the line of a key."""
    return key.split(SIGN, 1)[0]


def _read(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return each line and what explains it: nothing where it is whole."""
    tables: dict[str, str] = {}
    named: dict[str, str] = {}
    rows = counted = path = ""
    grouped = False
    end = head = 0
    for at, line in enumerate(lines):
        note = line[:1] == "["
        if note and (found := _ROWS.match(line)):
            head = at + (int(found[2]) if found[2].isdigit() else 1)
            rows = tables[found[1]] = "\n".join(lines[at + 1 : head + 1])
        elif note and (found := _NAMED.match(line)):
            head = at + int(found[1])
            named = {like.split(" ", 1)[0]: like for like in lines[at + 1 : head + 1]}
        elif note and (again := _AGAIN.match(line)):
            rows = tables.get(again[1], "")
        elif note and (scope := _BEGIN.match(line) or _TABLE.match(line)):
            end, counted = at + int(scope[1]), scope[2]
        elif note and line.startswith(_PATHS):
            grouped = True
        elif named and at > head and (name := _NAME.match(line)):
            yield line, named.get(name[0], "")
            continue
        elif line.startswith(_ROW) and rows and at > head:
            yield line, rows if at > end else rows + counted
            continue
        elif 0 < at <= end:
            yield line, counted
            continue
        elif grouped and _MATCH.match(line):
            yield line, path
            continue
        elif grouped:
            path = line
        yield line, ""
