"""The table of blocks that have literals in common: what its columns say no more than is left out.

What all values of a column are, begin with or end with becomes part of the literals, a column that
repeats an earlier one refers to it, and padding is said once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .row_table import PLACE, Table, separator_of, stripped
from .token_alignment import SHORT, Literals, fitting

_UNIT = re.compile(r"(?<=\d)[A-Za-zµ%]{1,3}\Z|[)\]}>\"',;:]\Z")
"""How all values of a column may end: with a unit, or a closing sign."""
_MOST_ENDS = 2
"""Such ends that a value may have, as in ``f(1);``."""
_OPENING = frozenset("([<\"'")
"""What all values of a column may begin with; before a place a brace would look like one more."""
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_LEAST_REPEATED = 3
"""Mean characters of values from which on a column that repeats them is no accident."""


@dataclass(slots=True)
class _Column:
    """The values of a place in all blocks, and how it is written.

    ``again`` says that an earlier column has the same values, ``needed`` that this is the earlier.
    """

    values: list[str]
    place: str = ""
    again: bool = False
    needed: bool = False

    @property
    def plain(self) -> bool:
        """Return whether the column is written as it is, and no other refers to it."""
        return not (self.place or self.again or self.needed)


@dataclass(slots=True)
class _Line:
    """A line of a block: its literals and the columns between them.

    ``one_gap`` says that its blocks have only their ends in common, or that :func:`whole` kept only
    those, so that the words of a failure stay together.
    """

    literals: list[str]
    columns: list[_Column]
    one_gap: bool

    def drop_constant(self) -> None:
        """Make part of the literals each column that has one value everywhere."""
        for at in range(len(self.columns) - 1, -1, -1):
            values = self.columns[at].values
            if values.count(values[0]) == len(values):
                del self.columns[at]
                self.literals[at : at + 2] = [self.literals[at] + values[0] + self.literals[at + 1]]

    def join(self, at: int) -> None:
        """Make one column of ``at``, the next one, and what stands between them."""
        left, right = self.columns[at : at + 2]
        between = self.literals.pop(at + 1)
        values = [a + between + b for a, b in zip(left.values, right.values, strict=True)]
        self.columns[at : at + 2] = [_Column(values)]

    def join_short(self) -> None:
        """Join columns that little stands between."""
        for at in range(len(self.columns) - 2, -1, -1):
            short = len(self.literals[at + 1]) <= SHORT
            if short and self.columns[at].plain and self.columns[at + 1].plain:
                self.join(at)

    def split_words(self) -> None:
        """Part the columns of which all values have the same number of words, at one blank each."""
        for at in range(len(self.columns) - 1, -1, -1):
            if not self.columns[at].plain:
                continue
            values = self.columns[at].values
            count = values[0].count(" ") + 1
            if count == 1 or any(value.count(" ") + 1 != count for value in values):
                continue
            words = [value.split(" ") for value in values]
            if any("" in w for w in words):
                continue
            self.columns[at : at + 1] = [_Column(list(one)) for one in zip(*words, strict=True)]
            self.literals[at + 1 : at + 1] = [" "] * (count - 1)

    def take_signs(self) -> None:
        """Make part of the literals what all values of a column begin with: an opening sign."""
        for at, column in enumerate(self.columns):
            sign = column.values[0][:1]
            if column.plain and sign in _OPENING and all(v[:1] == sign for v in column.values):
                column.values = [value[1:] for value in column.values]
                self.literals[at] += sign

    def take_units(self) -> None:
        """Make part of the literals what all values of a column end with: a unit, a sign."""
        for at, column in enumerate(self.columns):
            unit = _UNIT.search(column.values[0]) if column.plain else None
            if unit is None or not all(value.endswith(unit[0]) for value in column.values):
                continue
            bare = [value.removesuffix(unit[0]) for value in column.values]
            opened = _PAIRS.get(unit[0])
            if opened is not None and any(opened in value for value in bare):
                continue  # the two stay together
            if not unit[0].isalpha() or all(v[-1:].isdecimal() for v in bare):
                column.values = bare
                self.literals[at + 1] = unit[0] + self.literals[at + 1]

    def take_braces(self) -> None:
        """Give the braces around a place to its values: next to it they look like its own."""
        for at, column in enumerate(self.columns):
            before, after = self.literals[at : at + 2]
            left, right = before.rstrip("{"), after.lstrip("}")
            if column.plain and (left, right) != (before, after):
                more, end = before[len(left) :], after[: len(after) - len(right)]
                column.values = [more + value + end for value in column.values]
                self.literals[at : at + 2] = [left, right]

    def take_places(self, count: int) -> None:
        """Make a value of each ``{}`` of the lines themselves: it would look like a place."""
        for at in range(len(self.literals) - 1, -1, -1):
            for found in reversed(list(PLACE.finditer(self.literals[at]))):
                before, after = self.literals[at][: found.start()], self.literals[at][found.end() :]
                if (at and not before) or (at < len(self.columns) and not after):
                    return  # next to another place: the lines make no table
                self.literals[at : at + 1] = [before, after]
                self.columns.insert(at, _Column([found[0]] * count))

    def split(self, at: int) -> None:
        """Part the column ``at`` where it holds columns of text, aligned by blanks, not by tabs."""
        if any("\t" in value for value in self.columns[at].values):
            return
        columns, between = _aligned_columns(self.columns[at].values)
        if len(columns) > 1:
            self.columns[at : at + 1] = columns
            self.literals[at + 1 : at + 1] = between

    def take_edges(self) -> None:
        """Give what is short at the line's ends to the columns there, so that words stay whole."""
        if len(self.literals) < 2:
            return
        first, last = self.literals[0], self.literals[-1]
        if 0 < len(first) <= SHORT and self.columns[0].plain:
            self.columns[0].values = [first + v for v in self.columns[0].values]
            self.literals[0] = ""
        if 0 < len(last) <= SHORT and self.columns[-1].plain:
            self.columns[-1].values = [v + last for v in self.columns[-1].values]
            self.literals[-1] = ""


def table_of(
    parts: Sequence[Literals], blocks: Sequence[Sequence[str]]
) -> tuple[Table, list[str]] | None:
    """Return the table of ``blocks``, whose lines all have the literals ``parts``, and its rows.

    None where they have not, where no separator can part the values, or where a literal looks like
    a place.
    """
    for aligned in (True, False):
        table = _table(parts, blocks, aligned)
        if table is None:
            return None
        rows = table.rows(blocks)
        if len(rows) == len(blocks):
            return table, rows
    return None


def _table(
    parts: Sequence[Literals], blocks: Sequence[Sequence[str]], aligned: bool
) -> Table | None:
    lines: list[_Line] = []
    for number, one in enumerate(parts):
        fit, found = fitting(one, [block[number] for block in blocks], range(len(blocks)))
        if len(fit) < len(blocks):
            return None
        lines.append(_Line(list(one), [_Column(values) for values in found], len(found) == 1))
    _simplify(lines, aligned)
    for line in lines:
        line.take_places(len(blocks))
    columns = [column for line in lines for column in line.columns]
    if any(PLACE.search(part) for line in lines for part in line.literals):
        return None
    fresh = [column for column in columns if not column.again]
    for column in columns:
        if column.again:
            source = next(i for i, c in enumerate(fresh) if c.values == column.values)
            column.place = f"={source + 1}"
    places = tuple(column.place for column in columns)
    separator = separator_of([[stripped(c.place, v) for v in c.values] for c in fresh])
    if separator is None:
        return None
    return Table(tuple(tuple(line.literals) for line in lines), places, separator)


def _simplify(lines: list[_Line], aligned: bool) -> None:
    """Make literals, references and padding of what columns say no more than."""
    seen: list[_Column] = []
    for line in lines:
        for at in range(len(line.columns) - 1, -1, -1) if aligned else ():
            line.split(at)
        line.drop_constant()
        for column in line.columns:
            if sum(map(len, column.values)) >= _LEAST_REPEATED * len(column.values):
                source = next((c for c in seen if c.values == column.values), None)
                column.again = source is not None
                if source is not None:
                    source.needed = True
                else:
                    seen.append(column)
    for line in lines:
        for column in line.columns:
            if column.plain and aligned:
                column.place = _padding(column.values)
        line.join_short()
        line.take_edges()
        line.take_braces()
        if line.one_gap:
            continue
        line.split_words()
        line.drop_constant()
        line.take_signs()
        for _ in range(_MOST_ENDS):
            line.take_units()


def _padding(values: list[str]) -> str:
    """Return how values are filled up to one width, empty where they are not."""
    width = len(values[0])
    if any(len(value) != width for value in values):
        return ""
    for side, bare in (
        (">", [v.lstrip(" ") for v in values]),
        ("<", [v.rstrip(" ") for v in values]),
    ):
        filled = [v.rjust(width) if side == ">" else v.ljust(width) for v in bare]
        if filled == values != bare:
            return f"{side}{width}"
    return ""


def _aligned_columns(values: list[str]) -> tuple[list[_Column], list[str]]:
    """Return the columns that stand in ``values``, filled up with blanks, and what parts them."""
    columns: list[_Column] = []
    between: list[str] = []
    begin = 0
    ends = [*_blank_everywhere(values), (None, None)]
    for start, end in ends:
        one = _Column([v[begin:start] for v in values])
        one.place = _padding(one.values)
        if columns and len(between[-1]) <= SHORT and not (columns[-1].place or one.place):
            gap = between.pop()  # what no blanks fill up is one text
            one.values = [
                a + gap + b for a, b in zip(columns.pop().values, one.values, strict=True)
            ]
        columns.append(one)
        if end is not None and start is not None:
            between.append(" " * (end - start))
            begin = end
    return columns, between


def _blank_everywhere(values: list[str]) -> list[tuple[int, int]]:
    """Return the spans of places, inside all values, where each has a blank."""
    blank = [at for at, sign in enumerate(values[0]) if sign == " "]
    for value in values:
        blank = [at for at in blank if value[at : at + 1] == " "]
    return spans_of(blank)


def spans_of(places: Iterable[int]) -> list[tuple[int, int]]:
    """Return places, in order, as spans of those that follow one another."""
    found: list[tuple[int, int]] = []
    for at in places:
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found
