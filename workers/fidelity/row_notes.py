"""How rows of a table are written into a text, and read back.

A note says how many rows follow, or blocks of lines; below it stand the lines that all share, with
places for values, and the rows. None of these is a line of the original, and each says so: it
begins with three dots. Lines without them may stand between rows: they are as they were printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .row_table import Table

ROW = "..."
_HEAD = re.compile(
    r"\[\.\.\. rows (\d+): (\d+) (?:line is like the next one|lines are like the next one"
    r"|blocks? (?:is|are) like the next (\d+) lines)"
    r'(?:, each row is its values for \{\}(?:, parted by "(.)")?|, all of them are equal)'
    r", nothing is left out.* \.\.\.\]"
)
_MORE = re.compile(r"\[\.\.\. rows (\d+) again: (\d+), nothing is left out \.\.\.\]")
_JSON_TABLE = re.compile(r"\[\d+\]\{")
_MIXED = "; lines between that do not begin with ... are whole"
_MOST_BETWEEN = 20
"""Whole lines that may stand between two rows without another note."""


def head(number: int, table: Table, count: int, *, mixed: bool = False) -> list[str]:
    """Return what stands above the first ``count`` rows of the table of this ``number``.

    Blocks that are all equal have no rows.

    ``mixed`` says that whole lines stand between them.
    """
    height = table.height
    what = "line" if height == 1 else "block"
    what += " is" if count == 1 else "s are"
    like = f"{what} like the next {'one' if height == 1 else f'{height} lines'}"
    parted = f', parted by "{table.separator}"' if table.values > 1 else ""
    rows = f"each row is its values for {{}}{parted}" if table.values else "all of them are equal"
    legend = legend_of(table.places) + (_MIXED if mixed else "")
    note = f"{count} {like}, {rows}, nothing is left out{legend}"
    return [f"[... rows {number}: {note} ...]", *(ROW + line for line in table.shown())]


def legend_of(places: Sequence[str]) -> str:
    """Return what says how those of ``places`` are read that are more than ``{}``."""
    signs = {place[:1]: place for place in reversed(places)}
    legend = "; {=1} is the row's value 1 again, {=2} its value 2" if "=" in signs else ""
    for sign, where in ((">", "before"), ("<", "after")):
        if sign in signs:
            width = signs[sign][1:]
            legend += f"; {{{sign}{width}}} has blanks {where} the value, {width} characters in all"
    return legend


def more(number: int, count: int) -> str:
    """Return what stands above ``count`` more rows of a table."""
    return f"[... rows {number} again: {count}, nothing is left out ...]"


@dataclass(slots=True)
class _Part:
    """Rows of one table below one note, with whole lines between them."""

    table: int
    first: bool
    lines: list[str] = field(default_factory=list)
    rows: int = 0
    between: int = 0
    """Whole lines behind the last row."""
    open: bool = True
    mixed: bool = False


class Written:
    """A text that is written as whole lines and rows, in order."""

    def __init__(self) -> None:
        self._tables: list[Table] = []
        self._parts: list[_Part] = []
        self._above: list[str] = []

    def add_lines(self, lines: Sequence[str]) -> None:
        """Add lines that stay as they are."""
        part = self._parts[-1] if self._parts else None
        if part is None:
            self._above += lines
            return
        shown = [*part.lines[-1:], *lines]
        part.lines += lines
        part.between += len(lines)
        # Behind a line that looks like a row or a note, and behind the whole rows of a JSON table,
        # rows go on below a note of their own.
        notes = any(line.startswith((ROW, "[" + ROW)) for line in lines)
        if part.between > _MOST_BETWEEN or notes or any(map(_JSON_TABLE.match, shown[:-1])):
            part.open = False

    def add_rows(self, table: Table, rows: Sequence[str]) -> None:
        """Add rows of a table, which is new or was there before."""
        first = table not in self._tables
        if first:
            self._tables.append(table)
        number = self._tables.index(table)
        part = self._parts[-1] if self._parts else None
        if part is None or not part.open or part.table != number:
            part = _Part(number, first)
            self._parts.append(part)
        part.rows += len(rows)
        if not table.values:
            part.open = False
            return
        part.mixed = part.mixed or part.between > 0
        part.between = 0
        part.lines += rows

    def text(self) -> str:
        """Return the text."""
        mixed = {part.table for part in self._parts if part.mixed}
        out = list(self._above)
        for part in self._parts:
            number, table = part.table + 1, self._tables[part.table]
            if part.first:
                out += head(number, table, part.rows, mixed=part.table in mixed)
            else:
                out.append(more(number, part.rows))
            out += part.lines
        return "\n".join(out)


def lines_of_rows(text: str) -> str:
    """Return the text that rows were made of.

    Raises:
        ValueError: a note or a row is wrong.
    """
    lines = text.split("\n")
    out: list[str] = []
    tables: list[Table] = []
    table: Table | None = None
    at = left = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if left and table is not None:
            if line.startswith(ROW):
                out += table.block(line[len(ROW) :])
                left -= 1
            else:
                out.append(line)
            continue
        first, again = _HEAD.fullmatch(line), _MORE.fullmatch(line)
        if first is not None:
            height = int(first[3] or 1)
            tables.append(Table.read(_bare(lines[at : at + height]), first[4] or " "))
            at += height
            table, left = tables[-1], int(first[2])
        elif again is not None:
            table, left = tables[int(again[1]) - 1], int(again[2])
        else:
            out.append(line)
        if left and table is not None and not table.values:
            out += table.block("") * left
            left = 0
    if left:
        raise ValueError("rows are missing")
    return "\n".join(out)


def _bare(lines: list[str]) -> list[str]:
    """Return lines without the dots that say what they are."""
    if not all(line.startswith(ROW) for line in lines):
        raise ValueError("no row")
    return [line[len(ROW) :] for line in lines]
