"""A table of lines or blocks: what they share, with places for values, and a row of values each.

A place is written ``{}``; ``{>9}`` is filled up with blanks to 9 columns from the left, ``{<9}``
from the right; ``{=2}`` is the row's second value again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .alignment import SHORT, Literals, fitting

SEPARATORS = (" ", "|", "¦", "§")
PLACE = re.compile(r"\{((?:[<>=]\d+)?)\}")
_UNIT = re.compile(r"(?<=\d)[A-Za-zµ%]{1,3}\Z|[)\]}>\"',;:]\Z")
"""How all values of a column may end: with a unit, or a closing sign."""
_MOST_ENDS = 2
"""Such ends that a value may have, as in ``f(1);``."""
_OPENING = frozenset("([<\"'")
"""What all values of a column may begin with; before a place a brace would look like one more."""
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_LEAST_REPEATED = 3
"""Mean characters of values from which on a column that repeats them is no accident."""


@dataclass(frozen=True, slots=True)
class Table:
    """The lines of a block with their places, and what parts the values of a row.

    ``literals`` has one entry for each line of a block. ``places`` are written as between the
    braces, for all lines in order.
    """

    literals: tuple[Literals, ...]
    places: tuple[str, ...]
    separator: str
    _widths: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    """The least characters of each line's places; nothing where none has a width."""

    def __post_init__(self) -> None:
        places = iter(self.places)
        widths = [
            tuple([_width(place) for place in islice(places, len(parts) - 1)])
            for parts in self.literals
        ]
        found = tuple([one if any(one) else () for one in widths])
        object.__setattr__(self, "_widths", found)

    @property
    def height(self) -> int:
        """Lines of a block."""
        return len(self.literals)

    @property
    def values(self) -> int:
        """Values of a row."""
        return sum(1 for place in self.places if place[:1] != "=")

    def shown(self) -> list[str]:
        """Return the lines with their places."""
        places = iter(self.places)
        return [
            parts[0] + "".join(f"{{{next(places)}}}{part}" for part in parts[1:])
            for parts in self.literals
        ]

    def row(self, block: Sequence[str]) -> str | None:
        """Return the row of one block; None without one."""
        rows = self.rows([block])
        return rows[0] if rows else None

    def rows(self, blocks: Sequence[Sequence[str]]) -> list[str]:
        """Return the rows of the first blocks, up to one that has none.

        Of a row :meth:`block` makes the block again.
        """
        found, count = self._found(blocks)
        fresh: list[list[str]] = []
        for place, values in zip(self.places, found, strict=True):
            if place[:1] == "=":
                count = min(count, _same(values, fresh[int(place[1:]) - 1]))
                continue
            bare = [_stripped(place, value) for value in values] if place else values
            if place:
                count = min(count, _same(values, [_filled(place, value) for value in bare]))
            fresh.append(bare)
        fresh = [values[:count] for values in fresh]
        rows = list(zip(*fresh, strict=True)) if fresh else [()] * count
        if len(fresh) > 1 and not _parts(self.separator, fresh):
            parted = [_parts(self.separator, [[value] for value in row]) for row in rows]
            rows = rows[: parted.index(False)]
        return [self.separator.join(row) for row in rows]

    def _found(self, blocks: Sequence[Sequence[str]]) -> tuple[list[list[str]], int]:
        """Return what is in each gap of blocks, and how many of the first blocks that is for."""
        found: list[list[str]] = []
        count = len(blocks)
        for number, (parts, widths) in enumerate(zip(self.literals, self._widths, strict=True)):
            lines = [block[number] for block in blocks]
            fit, columns = fitting(parts, lines, range(count), widths)
            count = _same(fit, range(count))
            found += columns
        return found, count

    def may_begin(self, line: str) -> bool:
        """Return False for a line that no block of this table begins with."""
        parts = self.literals[0]
        return line.startswith(parts[0]) and line.endswith(parts[-1])

    def asks_more_than(self, parts: Sequence[Literals]) -> bool:
        """Return whether a block with the literals ``parts`` may be none of this table."""
        return self.literals != tuple(parts) or any(self._widths)

    def lacking(self, lines: Sequence[str]) -> list[str]:
        """Return the ``lines`` that have not the literals of the table, which is of one line."""
        fit = set(fitting(self.literals[0], lines, range(len(lines)), self._widths[0])[0])
        return [line for at, line in enumerate(lines) if at not in fit]

    def block(self, row: str) -> list[str]:
        """Return the lines that a row stands for.

        Raises:
            ValueError: the row has another number of values.
        """
        count = self.values
        values = row.split(self.separator, count - 1) if count > 1 else [row] * count
        if len(values) != count:
            raise ValueError("a row of another table")
        fresh = iter(values)
        filled = iter(
            [
                values[int(place[1:]) - 1] if place[:1] == "=" else _filled(place, next(fresh))
                for place in self.places
            ]
        )
        return [
            parts[0] + "".join(next(filled) + part for part in parts[1:]) for parts in self.literals
        ]

    @classmethod
    def read(cls, lines: Sequence[str], separator: str) -> Table:
        """Return the table whose lines with their places are ``lines``."""
        split = [PLACE.split(line) for line in lines]
        places = [place for parts in split for place in parts[1::2]]
        return cls(tuple(tuple(parts[::2]) for parts in split), tuple(places), separator)


def _same(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many items two sequences have in common at their beginning."""
    if one == other:
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _stripped(place: str, value: str) -> str:
    if place[:1] == ">":
        return value.lstrip(" ")
    return value.rstrip(" ") if place[:1] == "<" else value


def _filled(place: str, value: str) -> str:
    if place[:1] == ">":
        return value.rjust(int(place[1:]))
    return value.ljust(int(place[1:])) if place[:1] == "<" else value


def _width(place: str) -> int:
    return int(place[1:]) if place[:1] in ("<", ">") else 0


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
    columns = [column for line in lines for column in line.columns]
    if any(PLACE.search(part) for line in lines for part in line.literals):
        return None
    fresh = [column for column in columns if not column.again]
    for column in columns:
        if column.again:
            source = next(i for i, c in enumerate(fresh) if c.values == column.values)
            column.place = f"={source + 1}"
    places = tuple(column.place for column in columns)
    separator = separator_of([[_stripped(c.place, v) for v in c.values] for c in fresh])
    if separator is None:
        return None
    return Table(tuple(tuple(line.literals) for line in lines), places, separator)


def separator_of(columns: Sequence[Sequence[str]]) -> str | None:
    """Return a sign that can part the values of these columns; None where all stand in values."""
    return next((sign for sign in SEPARATORS if _parts(sign, columns)), None)


def _parts(separator: str, columns: Sequence[Sequence[str]]) -> bool:
    """Return whether a reader sees where a value ends; between blanks an empty one is not seen."""
    if separator == " " and len(columns) > 1 and any("" in values for values in columns):
        return False
    return not any(separator in value for values in columns[:-1] for value in values)


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
    found: list[tuple[int, int]] = []
    for at in blank:
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found
