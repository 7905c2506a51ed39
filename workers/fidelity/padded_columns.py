"""Tables that are aligned by blanks, or drawn with bars, as rows of values without the padding.

The columns are found by the places where (almost) all lines have a blank or a bar, other than in
:mod:`lines_as_rows`, which looks for words that lines share: a table need not have any. Rows are
written in the same way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from shared.content import Kind

from .lines_as_rows import ROWS
from .must_see import is_bad, standing_out
from .reversible import ReversibleForm
from .row_notes import ROW, Written, lines_of_rows
from .row_table import PLACE, Table, separator_of
from .table_of_blocks import spans_of
from .token_alignment import cost

_LEAST_ROWS = 5
_MOST_COLUMNS = 20
_MOST_LINES = 5_000
"""Lines of a table that are looked at; the rest stays."""
_SHARES = (1.0, 0.9)
"""The share of a table's lines that have a blank where two columns are parted."""
_FILLED = 0.9
"""The share of a column's values that are of one width."""
_REACHED = 0.6
"""The share of its lines that are long enough to have a character there."""
_LEAST_FITTING = 0.7
"""The share of its lines that must be rows: others stay as they are."""
_LEAST_SAVED, _LEAST_SHARE = 80, 0.12
_NOTE = 170
"""Characters of the note above a table, about."""
_BARS = frozenset("|│")
_PARTING = _BARS | {" "}
_RULE = re.compile(r"[-+=|:─━═┼├┤┌┬┐└┴┘╔╦╗╠╬╣╚╩╝║╭╮╰╯│\s]+")
"""A line that is drawn between rows."""
_LONGEST = 1000
_SAMPLE = 200
"""Lines of a table, about, by which its columns are found."""


class _Region(NamedTuple):
    """Lines from ``start`` to ``end`` without a blank one among them."""

    start: int
    end: int


def rows_of_columns(text: str, kind: Kind, first: int, end: int) -> ReversibleForm | None:
    """Return ``text``, which has no blanks at its lines' ends, with tables as rows of values.

    None where that saves too little.
    Lines before ``first`` and from ``end`` on stay as they are, and so do lines that tell of a
    failure among others that do not.
    """
    lines = text.split("\n")
    regions = [region for region in _regions(lines, first, end) if _may_be_table(lines, region)]
    if not regions:
        return None  # telling which lines stand out takes most of the time
    whole = _standing_out(lines, kind)
    written = Written()
    at = 0
    for region in regions:
        places = [
            place
            for place in range(region.start, region.end)
            if place not in whole and _RULE.fullmatch(lines[place]) is None
        ][:_MOST_LINES]
        if not at:
            del places[:1]  # a reader sees by the first row how they looked
        rows = _rows(lines, places)
        if rows is None:
            continue
        for place in range(region.start, region.end):
            if place in rows.rows:
                written.add_lines(lines[at:place])
                written.add_rows(rows.table, [ROW + rows.rows[place]])
                at = place + 1
    if not at:
        return None
    written.add_lines(lines[at:])
    made = written.text()
    return ReversibleForm(made, _inverse, ROWS) if cost(made) < cost(text) else None


def _inverse(text: str) -> str:
    """Return the text that rows were made of, which has no blanks at its lines' ends."""
    return "\n".join([line.rstrip(" ") for line in lines_of_rows(text).split("\n")])


def _standing_out(lines: list[str], kind: Kind) -> frozenset[int]:
    """Return the lines that stand out or tell of a failure, where most do not."""
    bad = frozenset(at for at, line in enumerate(lines) if is_bad(line))
    if kind == "table":
        bad |= standing_out(lines)
    return bad if 2 * len(bad) < len(lines) else frozenset()


def _regions(lines: list[str], first: int, end: int) -> Iterator[_Region]:
    start = first
    for at in range(first, end + 1):
        if at == end or not lines[at].strip() or len(lines[at]) > _LONGEST:
            if at - start >= _LEAST_ROWS:
                yield _Region(start, at)
            start = at + 1


def _may_be_table(lines: list[str], region: _Region) -> bool:
    """Return whether the lines, without those that are drawn, have columns."""
    some = lines[region.start : min(region.end, region.start + _MOST_LINES)]
    some = [line for line in some if _RULE.fullmatch(line) is None]
    return len(some) >= _LEAST_ROWS and bool(_gaps(some, min(_SHARES)))


class _Rows(NamedTuple):
    """A table, its row for each line that fits it, and the characters that they save."""

    table: Table
    rows: dict[int, str]
    saved: int


def _rows(lines: list[str], places: list[int]) -> _Rows | None:
    """Return the rows of these lines, where they are a table and it saves enough."""
    if len(places) < _LEAST_ROWS:
        return None
    tried = (_rows_parted(lines, places, share) for share in _SHARES)
    best = max(filter(None, tried), key=lambda rows: rows.saved, default=None)
    size = sum(cost(lines[place]) for place in best.rows) if best is not None else 0
    return best if best and best.saved >= max(_LEAST_SAVED, _LEAST_SHARE * size) else None


def _rows_parted(lines: list[str], places: list[int], share: float) -> _Rows | None:
    """Return the rows of these lines with columns parted where such a share of them has a blank."""
    some = [lines[place] for place in places]
    gaps = _gaps(some, share)
    if not 0 < len(gaps) < _MOST_COLUMNS:
        return None
    # Blanks that filled up the last columns, where these are empty, are no part of a line.
    least, width = gaps[-2:][0][0], gaps[-1][1]
    some = [line.ljust(width) if len(line) >= least else line for line in some]
    table = _table(some, gaps)
    if table is None:
        return None
    found = zip(places, table.each_row([[line] for line in some]), strict=True)
    rows = {place: row for place, row in found if row is not None}
    if len(rows) < max(_LEAST_ROWS, _LEAST_FITTING * len(places)):
        return None
    saved = sum(cost(lines[at]) - cost(row) - len(ROW) for at, row in rows.items())
    return _Rows(table, rows, saved - _NOTE - sum(map(len, table.shown())))


def _table(lines: list[str], gaps: list[tuple[int, int]]) -> Table | None:
    """Return the table that most of these lines are rows of, with these gaps between columns."""
    said = [Counter(line[start:end] for line in lines).most_common(1)[0][0] for start, end in gaps]
    fitting = [
        line
        for line in lines
        if all(line[a:b] == gap for (a, b), gap in zip(gaps, said, strict=True))
    ]
    if len(fitting) < max(_LEAST_ROWS, _LEAST_FITTING * len(lines)):
        return None
    begins = [0, *(end for _, end in gaps)]
    columns = [
        [line[begin:end] for line in fitting]
        for begin, end in zip(begins, [*(start for start, _ in gaps), None], strict=True)
    ]
    literals, places, shown = [""], [], []
    for values, gap in zip(columns, [*said, ""], strict=True):
        if len(set(values)) == 1:
            literals[-1] += values[0] + gap
            continue
        place = _place(values)
        literals.append(gap)
        places.append(place)
        shown.append([value.strip(" ") if place else value for value in values])
    separator = separator_of(shown)
    if separator is None or len(shown) < 2 or any(PLACE.search(part) for part in literals):
        return None
    return Table((tuple(literals),), tuple(places), separator)


def _gaps(lines: list[str], share: float) -> list[tuple[int, int]]:
    """Return the spans of places where such a share of lines has a blank or a bar.

    A place that many lines do not reach parts nothing.
    """
    blank: Counter[int] = Counter()
    reached: Counter[int] = Counter()
    lines = lines[:: len(lines) // _SAMPLE + 1]
    for line in lines:
        reached[len(line)] += 1
        blank.update(at for at, sign in enumerate(line) if sign in _PARTING)
    barred = {(at, at + 1) for at, sign in enumerate(lines[0]) if sign in _BARS}
    left = len(lines)
    parting: list[int] = []
    for at in range(max(map(len, lines))):
        left -= reached[at]
        if left < _REACHED * len(lines):
            break
        if blank[at] >= share * left:
            parting.append(at)
    # One blank may stand there by chance, between the words of a few values that come again.
    return [gap for gap in spans_of(parting) if gap[1] - gap[0] > 1 or gap in barred or not gap[0]]


def _place(values: list[str]) -> str:
    """Return how most of a column's values are filled up to one width, empty where they are not."""
    width, count = Counter(map(len, values)).most_common(1)[0]
    if count < _FILLED * len(values):
        return ""
    left = sum(1 for value in values if value[:1] == " ")
    right = sum(1 for value in values if value[-1:] == " ")
    if not left and not right:
        return ""
    return f">{width}" if left > right else f"<{width}"
