"""A table of lines or blocks: what they share, with places for values, and a row of values each.

A place is written ``{}``; ``{>9}`` is filled up with blanks to 9 columns from the left, ``{<9}``
from the right; ``{=2}`` is the row's second value again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .token_alignment import Literals, fitting

SEPARATORS = (" ", "|", "¦", "§")
MOST_AT_ONCE = 64
"""Blocks whose rows are made at once: one takes a third of the time of one alone."""
PLACE = re.compile(r"\{((?:[<>=]\d+)?)\}")


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

    def each_row(self, blocks: Sequence[Sequence[str]]) -> Iterator[str | None]:
        """Return the row of each block, None for one that has none."""
        at, many = 0, 1
        while at < len(blocks):
            rows = self.rows(blocks[at : at + many])
            yield from rows
            at += len(rows)
            if len(rows) == many:
                many = min(2 * many, MOST_AT_ONCE)
            elif at < len(blocks):
                yield None
                at, many = at + 1, 1

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
            bare = [stripped(place, value) for value in values] if place else values
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


def stripped(place: str, value: str) -> str:
    if place[:1] == ">":
        return value.lstrip(" ")
    return value.rstrip(" ") if place[:1] == "<" else value


def _filled(place: str, value: str) -> str:
    if place[:1] == ">":
        return value.rjust(int(place[1:]))
    return value.ljust(int(place[1:])) if place[:1] == "<" else value


def _width(place: str) -> int:
    return int(place[1:]) if place[:1] in ("<", ">") else 0


def separator_of(columns: Sequence[Sequence[str]]) -> str | None:
    """Return a sign that can part the values of these columns; None where all stand in values."""
    return next((sign for sign in SEPARATORS if _parts(sign, columns)), None)


def _parts(separator: str, columns: Sequence[Sequence[str]]) -> bool:
    """Return whether a reader sees where a value ends; between blanks an empty one is not seen."""
    if separator == " " and len(columns) > 1 and any("" in values for values in columns):
        return False
    return not any(separator in value for values in columns[:-1] for value in values)
