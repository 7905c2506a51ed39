"""How rows of a table are written into a text, and read back.

A note says how many rows follow, or blocks of lines; below it stand the lines that all share, with
places for values, and the rows. None of these is a line of the original, and each says so: it
begins with three dots.
"""

from __future__ import annotations

import re

from .row_table import Table

ROW = "..."
_HEAD = re.compile(
    r"\[\.\.\. rows (\d+): (\d+) (?:line is like the next one|lines are like the next one"
    r"|blocks? (?:is|are) like the next (\d+) lines)"
    r', each row is its values for \{\}(?:, parted by "(.)")?, nothing is left out.* \.\.\.\]'
)
_MORE = re.compile(r"\[\.\.\. rows (\d+) again: (\d+), nothing is left out \.\.\.\]")


def head(number: int, table: Table, count: int) -> list[str]:
    """Return what stands above the first ``count`` rows of the table of this ``number``."""
    height = table.height
    what = "line" if height == 1 else "block"
    what += " is" if count == 1 else "s are"
    like = f"{what} like the next {'one' if height == 1 else f'{height} lines'}"
    parted = f', parted by "{table.separator}"' if table.values > 1 else ""
    signs = {place[:1]: place for place in reversed(table.places)}
    legend = "; {=1} is the row's value 1 again, {=2} its value 2" if "=" in signs else ""
    for sign, where in ((">", "before"), ("<", "after")):
        if sign in signs:
            width = signs[sign][1:]
            legend += f"; {{{sign}{width}}} has blanks {where} the value, {width} characters in all"
    note = f"{count} {like}, each row is its values for {{}}{parted}, nothing is left out{legend}"
    return [f"[... rows {number}: {note} ...]", *(ROW + line for line in table.shown())]


def more(number: int, count: int) -> str:
    """Return what stands above ``count`` more rows of a table."""
    return f"[... rows {number} again: {count}, nothing is left out ...]"


def lines_of_rows(text: str) -> str:
    """Return the text that rows were made of.

    Raises:
        ValueError: a note or a row is wrong.
    """
    lines = text.split("\n")
    out: list[str] = []
    tables: list[Table] = []
    at = 0
    while at < len(lines):
        first, again = _HEAD.fullmatch(lines[at]), _MORE.fullmatch(lines[at])
        at += 1
        if first is not None:
            height = int(first[3] or 1)
            tables.append(Table.read(_bare(lines[at : at + height]), first[4] or " "))
            at += height
            table, count = tables[-1], int(first[2])
        elif again is not None:
            table, count = tables[int(again[1]) - 1], int(again[2])
        else:
            out.append(lines[at - 1])
            continue
        for row in _bare(lines[at : at + count]):
            out += table.block(row)
        at += count
    return "\n".join(out)


def _bare(lines: list[str]) -> list[str]:
    """Return lines without the dots that say what they are."""
    if not all(line.startswith(ROW) for line in lines):
        raise ValueError("no row")
    return [line[len(ROW) :] for line in lines]
