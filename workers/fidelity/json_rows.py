"""Rows of a JSON table as rows of values: what all of a column share is said once above them.

``"web-1","Running","node-1"`` and 200 more like it become ``"web-{}","{}","node-{=1}"`` and
rows like ``1 Running``. Numbers, dates, addresses and versions stay whole, and a row that tells of
a failure among others that do not is not taken apart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from .lines_as_rows import ROWS
from .must_see import is_bad
from .reversible import ReversibleForm
from .row_notes import ROW, Written, lines_of_rows
from .row_table import PLACE, Table, separator_of

_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([^"\[\]{},:\s]+)|([\[\]{},: ]+)')
_LEAST_ROWS = 5
_LEAST_SAVED = 60
_LEAST_SHARE = 0.15
_MOST_VALUES = 24
_MOST_TABLES = 4
_FEW_GAPS = 0.05
"""The share of a column's values that may be empty for their rows to be left out."""
_JOINED = re.compile(r"[\d.:/-]*\d[.:/-]\Z")
"""The beginning of a date, a time, an address or a version that stands before a cut."""
_JOINED_END = re.compile(r"(?=\D*[1-9])[\d.-]*\d\.\Z")
"""The end of an address or a version behind a cut, mirrored; an end of zeros is a fraction's."""


class _Row(NamedTuple):
    """A line's values, and its shape: what is left without them."""

    shape: str
    values: list[str]


class _Column(NamedTuple):
    """What all values of a column begin and end with, and what is between: a place or nothing."""

    before: str
    place: str | None
    after: str
    values: list[str]


def rows_of_tables(text: str) -> ReversibleForm | None:
    """Return the text of a JSON table with rows of values; None where that saves too little."""
    lines = text.split("\n")
    rows = [_row(line) for line in lines]
    places: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row is not None:
            places[row.shape].append(at)
    row_at: dict[int, tuple[Table, str]] = {}
    for shape in sorted(places, key=lambda one: -len(places[one]))[:_MOST_TABLES]:
        found = places[shape]
        bad = {at for at in found if is_bad(lines[at])}
        good = found if 2 * len(bad) > len(found) else [at for at in found if at not in bad]
        good = _without_rare_gaps(good, rows)
        table = _table(shape, [row.values for at in good if (row := rows[at]) is not None])
        if table is not None:
            saving = _saving_rows(table, [lines[at] for at in good])
            row_at.update((at, (table, row)) for at, row in zip(good, saving, strict=False))
    if not row_at:
        return None
    made = _written(lines, row_at)
    return ReversibleForm(made, lines_of_rows, ROWS) if len(made) < len(text) else None


def _without_rare_gaps(places: list[int], rows: list[_Row | None]) -> list[int]:
    """Leave out the rows with an empty value in a column that hardly has any: they stay whole.

    With them no blank could part the values of all others.
    """
    found = [(at, row.values) for at in places if (row := rows[at]) is not None]
    empty = [[not value for value in column] for column in zip(*(v for _, v in found), strict=True)]
    rare = [n for n, column in enumerate(empty) if sum(column) <= _FEW_GAPS * len(found)]
    return [at for at, values in found if all(values[n] for n in rare)]


def _written(lines: list[str], row_at: dict[int, tuple[Table, str]]) -> str:
    written = Written()
    for at, line in enumerate(lines):
        table, row = row_at.get(at, (None, ""))
        if table is None:
            written.add_lines([line])
        else:
            written.add_rows(table, [ROW + row])
    return written.text()


def _row(line: str) -> _Row | None:
    """Return the values and the shape of a table's row; None where the line is none."""
    if line.startswith((ROW, "[" + ROW)) or line[:1] in ("", " ", "\t"):
        return None
    shape: list[str] = []
    values: list[str] = []
    at = 0
    for found in _PART.finditer(line):
        if found.start() != at:
            return None
        at = found.end()
        text, value, signs = found.groups()
        if signs is not None:
            shape.append(signs)
        elif text is not None:
            shape.append('"\0"')
            values.append(text)
        else:
            shape.append("\0")
            values.append(value)
    if at != len(line) or not values:
        return None
    return _Row("".join(shape), values)


def _table(shape: str, rows: list[list[str]]) -> Table | None:
    """Return the table of rows of one shape; None where they are too few, or it is none."""
    if len(rows) < _LEAST_ROWS:
        return None
    parts = shape.split("\0")
    columns: list[_Column] = []
    for number, values in enumerate(zip(*rows, strict=True)):
        columns.append(_column(list(values), columns, quoted=parts[number][-1:] == '"'))
    literals = [parts[0]]
    places: list[str] = []
    for column, part in zip(columns, parts[1:], strict=True):
        literals[-1] += column.before
        if column.place is not None:
            places.append(column.place)
            literals.append("")
        literals[-1] += column.after + part
    shown = [column.values for column in columns if column.place == ""]
    if not 0 < len(shown) <= _MOST_VALUES or any(PLACE.search(part) for part in literals):
        return None
    separator = separator_of(shown)
    return Table((tuple(literals),), tuple(places), separator) if separator is not None else None


def _column(values: list[str], before: list[_Column], *, quoted: bool) -> _Column:
    """Return how a column is written; a constant one has no place."""
    first = values[0]
    if all(value == first for value in values):
        return _Column(first, None, "", [])
    head = tail = ""
    if quoted and not any("\\n" in value for value in values):  # a source or a patch stays whole
        head = first[: _head(values, _common(values))]
        values = [value[len(head) :] for value in values]
        mirrored = [value[::-1] for value in values]
        tail = mirrored[0][: _tail(mirrored, _common(mirrored))][::-1]
        values = [value[: len(value) - len(tail)] for value in values]
    fresh = [column for column in before if column.place == ""]
    again = next((n for n, c in enumerate(fresh, 1) if c.values == values), None)
    return _Column(head, "" if again is None else f"={again}", tail, values)


def _common(values: list[str]) -> str:
    """Return what all values begin with."""
    first, last = min(values), max(values)
    most = min(len(first), len(last))
    return first[: next((at for at in range(most) if first[at] != last[at]), most)]


def _head(values: list[str], common: str) -> int:
    """Return how many characters of a common beginning are no part of what varies."""
    for cut in range(len(common), 0, -1):
        if all(_parted(value, cut) for value in values):
            joined = _JOINED.search(common[:cut])
            return joined.start() if joined is not None else cut
    return 0


def _tail(mirrored: list[str], common: str) -> int:
    """Return the same of a common end; the values are mirrored."""
    for cut in range(len(common), 0, -1):
        if all(_parted(value, cut) for value in mirrored):
            joined = _JOINED_END.search(common[:cut])
            return joined.start() if joined is not None else cut
    return 0


def _parted(value: str, cut: int) -> bool:
    """Return whether a value is no longer than the cut, or neither word nor number is cut."""
    left, right = value[cut - 1], value[cut : cut + 1]
    if not right:
        return False
    return not (left.isdigit() and right.isdigit()) and not (left.isalpha() and right.isalpha())


def _saving_rows(table: Table, lines: list[str]) -> list[str]:
    """Return the lines' rows of this table; none where they are not enough shorter."""
    rows = table.rows([[line] for line in lines])
    size = sum(map(len, lines))
    saved = size - sum(map(len, rows)) - len(ROW) * len(rows)
    note = 130 + sum(map(len, table.literals[0])) + 4 * len(table.places)
    enough = len(rows) == len(lines) and saved - note >= max(_LEAST_SAVED, _LEAST_SHARE * size)
    return rows if enough else []
