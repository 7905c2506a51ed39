"""Rows of several tables, mixed as their lines are: each begins with the name of its table.

Above them stand a note and the tables' lines with their places, each behind its name. Lines that
do not begin with three dots are as they were printed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from .row_notes import ROW, legend_of
from .row_table import SEPARATORS, Table

_PLAIN_WORD = re.compile(r"(?<= )[^\W\d_]{4,14}(?= )")
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]{3,14}(?![^\W_])")
_HEAD = re.compile(
    r"\[\.\.\. rows by name: the next (\d+) lines? says? how (\d+) lines below are read: .*"
    r" \.\.\.\]"
)
_LIKE = re.compile(r"\.\.\.(\w+) = (.*)")
_NAMED = re.compile(r"\.\.\.(\w+)")


def names_of(tables: Sequence[Table]) -> list[str]:
    """Return a name for each table: a word that only its line says, or else a letter."""
    said = [" ".join(table.literals[0]) for table in tables]
    words = [_words(line) for line in said]
    count = Counter(word for found in words for word in set(found))
    letters: Iterator[str] = map(chr, range(ord("A"), ord("Z") + 1))
    names = [next((word for word in found if count[word] == 1), "") for found in words]
    return [name or next(letters) for name in names]


def _words(line: str) -> list[str]:
    """Return the words that may name a line's table: of a sentence, in capitals, and others."""
    plain, any_word = _PLAIN_WORD.findall(line), _WORD.findall(line)
    loud = [word for word in any_word if word.isupper()]
    return [*(word for word in plain if not word.isupper()), *loud, *any_word]


def row_of(name: str, table: Table, values: str) -> str:
    """Return the row of a line of ``table``; ``values`` is what the table's own row is."""
    return f"{ROW}{name}{table.separator}{values}" if table.values else f"{ROW}{name}"


def head(tables: Mapping[str, Table], count: int) -> list[str]:
    """Return what stands above ``count`` rows of these tables."""
    many = len(tables)
    says = f"{many} line{'s say' if many > 1 else ' says'} how {count} lines below are read"
    legend = legend_of([place for table in tables.values() for place in table.places])
    note = (
        f"the next {says}: each begins with a name and has its values for {{}}, parted by the sign"
        f" behind the name, nothing is left out{legend}; lines that do not begin with ... are whole"
    )
    return [
        f"[... rows by name: {note} ...]",
        *(f"{ROW}{name} = {table.shown()[0]}" for name, table in tables.items()),
    ]


def lines_of_named_rows(text: str) -> str:
    """Return the text that named rows were made of.

    Raises:
        ValueError: a note or a row is wrong.
    """
    lines = text.split("\n")
    found = enumerate(map(_HEAD.fullmatch, lines))
    at, note = next((one for one in found if one[1] is not None), (0, None))
    if note is None:
        raise ValueError("no note")
    begin = at + 1 + int(note[1])
    like = dict(_named(line) for line in lines[at + 1 : begin])
    out = lines[:at]
    left = int(note[2])
    for line in lines[begin:]:
        row = _NAMED.match(line)
        if row is None:
            out.append(line)
            continue
        separator, values = line[row.end() : row.end() + 1], line[row.end() + 1 :]
        if separator and separator not in SEPARATORS:
            raise ValueError("no row")
        table = Table.read([like[row[1]]], separator or " ")
        out += table.block(values)
        left -= 1
    if left:
        raise ValueError("rows are missing")
    return "\n".join(out)


def _named(line: str) -> tuple[str, str]:
    found = _LIKE.fullmatch(line)
    if found is None:
        raise ValueError("a table without a name")
    return found[1], found[2]
