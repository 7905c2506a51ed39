"""Lines of several kinds that alternate, as rows of a table for each kind.

An application's log has a line for a request, two for the cache and one for the database, over and
over. No two of a kind stand together, so each row says which table it is of (``named_rows.py``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import eq

from shared.content import Kind

from .line_kinds import kinds_of
from .lines_as_rows import ROWS
from .must_see import in_traces, is_bad
from .named_rows import head, lines_of_named_rows, names_of, row_of
from .reversible import ReversibleForm
from .row_notes import ROW
from .row_table import Table
from .search_lines import are_entries
from .table_of_blocks import table_of
from .token_alignment import NEGATION, SHORT, cost, costs, fitting

_KINDS = frozenset({"log", "search", "test_run", "other"})
_LEAST_ROWS = 4
_MOST_TABLES, _MOST_VALUES = 16, 12
"""Tables, and values of a row, that a reader can tell apart."""
_LEAST_SAVED, _LEAST_SHARE = 60, 0.25
"""What a table must save of its lines, in characters and as a share."""
_LEAST_OF_ALL = 0.2
"""The share of a text that its rows must save: they are looked up in the tables above them."""
_LEAST_SAID = 0.3
"""The share of a table's lines that its literals must be; where they are less, it is of two."""
_COMPARED, _MOST_COMPARED = 4, 12
"""Lines of a kind that are compared with another kind's, and kinds that one is compared with."""
_MOST_PAIRS = 300
"""The same in all: some 20 ms."""
_SAME = 0.8
"""The share of two kinds' literals that they must have in common to be one."""
_HIGHEST, _MOST_AGAIN = 8, 0.5
"""Lines of a block, and the share of lines that are of the kind of the line so many above them,
from which on blocks of that height make rows without names."""
_LONGEST = 600
_MOST_LINES = 5_000
_NOTE_SIGN = "[" + ROW
_NOTE = 330
"""Characters of the note, about."""
_PART = re.compile(r" +|[^ ]+")
_CUT = (
    re.compile(r"[^\W_]*(?:(?:[.,:/+-]\d+)+(?![^\WT_]))?"),
    re.compile(r"[^\W_]*(?:[.,:/+-]\d+[^\W_]*)*"),
)
"""A part of a name, or a number with parts of its own, at an end (read backwards) and at a
beginning: it belongs to what it is a part of."""
_PIECE = re.compile(r"[^\s\[\](){}=:,\"'<>|/]++")
_DIGIT = re.compile(r"\d")


def alternate(kinds: Sequence[str]) -> bool:
    """Return whether lines of one kind seldom follow each other, nor in blocks of a few lines."""
    most = _MOST_AGAIN * len(kinds)
    return all(sum(map(eq, kinds, kinds[n:])) < most for n in range(1, _HIGHEST + 1))


def rows_of_kinds(text: str, kind: Kind, first: int, end: int) -> ReversibleForm | None:
    """Return ``text`` with its lines as rows of a table for each of their kinds.

    None where that saves too little. Lines before ``first`` and from ``end`` on stay as they are,
    and so do lines that tell of a failure, and stack traces.
    """
    lines = text.split("\n")
    if kind not in _KINDS or end - first > _MOST_LINES or any(x.startswith(ROW) for x in lines):
        return None
    if kind == "search" and not are_entries(lines):
        return None  # its lines are some file's: they are searched for to be changed
    traces = in_traces(lines)
    places = [
        place
        for place, line in enumerate(lines[first:end], first)
        if place not in traces
        and line.strip()
        and len(line) <= _LONGEST
        and not (line.startswith(_NOTE_SIGN) or is_bad(line))
    ]
    if 2 * len(places) < end - first:
        return None
    made = _Made(lines)
    for group in _groups(lines, places):
        made.add(group)
    made.join()
    size = cost(text)
    if made.saved - _NOTE < _LEAST_OF_ALL * size:
        return None
    shown = made.text(first)
    saves = size - cost(shown) >= _LEAST_OF_ALL * size
    return ReversibleForm(shown, lines_of_named_rows, ROWS) if saves else None


def _groups(lines: Sequence[str], places: Sequence[int]) -> Iterator[list[int]]:
    """Return the places of lines that may make a table, those of frequent kinds first.

    Kinds that differ by a word, as by a currency or a level, are one.
    """
    found: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, name in zip(places, kinds_of([lines[place] for place in places]), strict=True):
        found[len(lines[place].split()), name].append(place)
    joined: dict[int, list[list[int]]] = defaultdict(list)
    left = _MOST_PAIRS
    for (words, _), group in sorted(found.items(), key=lambda one: -len(one[1])):
        near = joined[words]
        some = near[: min(_MOST_COMPARED, left)]
        left -= len(some)
        like = next((one for one in some if _alike(lines, one, group)), None)
        if like is None:
            near.append(group)
        else:
            like += group
    together = [group for groups in joined.values() for group in groups]
    for group in sorted(together, key=len, reverse=True):
        if len(group) >= _LEAST_ROWS:
            yield group


def _alike(lines: Sequence[str], one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether some lines of two kinds have nearly all in common that those of each have."""
    some, more = ([lines[place] for place in group[:_COMPARED]] for group in (one, other))
    least = min(sum(map(len, _shared(some))), sum(map(len, _shared(more))))
    return sum(map(len, _shared([*some, *more]))) > _SAME * least > 0


def _shared(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what lines with equally many words have in common, before, between and behind gaps.

    Words are compared with those at the same place, and so are the blanks between them. Nothing is
    returned where a negation is shared: it stays with what it denies.
    """
    found = [""]
    for column in zip(*map(_PART.findall, lines), strict=False):
        if column.count(column[0]) == len(column):
            found[-1] += column[0]
            continue
        first, last = _edges(column) if column[0][0] != " " else ("", "")
        found[-1] += first
        found.append(last)
    first, *middle, last = found if len(found) > 1 else [*found, ""]
    parts = (first, *[part for part in middle if len(part) > SHORT], last)
    return () if any(map(NEGATION.search, parts)) else parts


def _edges(words: Sequence[str]) -> tuple[str, str]:
    """Return what words begin and end with, up to a sign between letters or digits."""
    first = _begun(words)
    last = _begun([word[len(first) :][::-1] for word in words])[::-1]
    return _uncut(_CUT[0], first[::-1])[::-1], _uncut(_CUT[1], last)


def _uncut(part: re.Pattern[str], text: str) -> str:
    """Return ``text`` behind a part that it begins with."""
    found = part.match(text)
    return text[found.end() :] if found is not None else text


def _begun(words: Sequence[str]) -> str:
    """Return what all words begin with."""
    one, other = min(words), max(words)
    end = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return one[:end]


def _without_numbers(line: str) -> str:
    """Return a line with a sign for each number, and for each word with one."""
    return _PIECE.sub(lambda piece: "#" if _DIGIT.search(piece[0]) else piece[0], line)


class _Made:
    """The tables that were found, with the rows of their lines."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self.tables: list[Table] = []
        self.saved = 0
        """Characters that all rows save, less the tables' lines."""
        self._rows: dict[int, tuple[int, str]] = {}
        """The number of its table, and its values, of each line that is a row."""

    def add(self, group: Sequence[int], *, whole: bool = True) -> None:
        """Add the table of lines of one kind, where it is worth it.

        Lines that have little in common (``whole``) are told apart by all but their numbers.
        """
        if len(self.tables) >= _MOST_TABLES:
            return
        parts = _shared([self._lines[place] for place in group])
        size = sum(costs([self._lines[place] for place in group]))
        said = sum(map(len, parts))
        if whole and said * len(group) < _LEAST_SAID * size:
            closer: dict[str, list[int]] = defaultdict(list)
            for place in group:
                closer[_without_numbers(self._lines[place])].append(place)
            for one in sorted(closer.values(), key=len, reverse=True):
                if len(one) >= _LEAST_ROWS:
                    self.add(one, whole=False)
            return
        if said:
            self._take(group, parts)

    def _take(self, group: Sequence[int], parts: tuple[str, ...]) -> None:
        """Make the rows of the lines that have these literals, where they save enough."""
        lines = self._lines
        fit, _ = fitting(parts, lines, group)
        made = table_of([parts], [[lines[place]] for place in fit]) if fit else None
        if made is None or len(fit) < _LEAST_ROWS or made[0].values > _MOST_VALUES:
            return
        table, rows = made
        if any("  " in row for row in rows):
            return  # columns of a table: a reader cannot tell which value is of which
        size = sum(costs([lines[place] for place in fit]))
        name = len(ROW) + max(map(len, names_of([table])))
        saved = size - sum(costs(rows)) - len(rows) * (name + 1) - len(table.shown()[0]) - name
        if saved < max(_LEAST_SAVED, _LEAST_SHARE * size):
            return
        number = len(self.tables)
        self.tables.append(table)
        self.saved += saved
        self._rows.update(zip(fit, ((number, row) for row in rows), strict=True))

    def join(self) -> None:
        """Give the lines of a table to another one that they are lines of, too."""
        groups: dict[int, list[int]] = defaultdict(list)
        for place, (number, _) in self._rows.items():
            groups[number].append(place)
        for number in sorted(groups, key=lambda one: len(groups[one])):
            places = groups[number]
            blocks = [[self._lines[place]] for place in places]
            for other in groups:
                rows = self.tables[other].rows(blocks) if other != number else []
                if len(rows) == len(places):
                    self._rows.update(zip(places, ((other, row) for row in rows), strict=True))
                    groups[other] += groups.pop(number)
                    break

    def text(self, first: int) -> str:
        """Return the lines, with rows behind the ``first`` ones.

        The first line of each table stays whole: it shows how they looked.
        """
        whole = {self._rows[place][0]: place for place in sorted(self._rows, reverse=True)}
        order = sorted(whole, key=lambda number: whole[number])
        names = dict(zip(order, names_of([self.tables[n] for n in order]), strict=True))
        firsts = set(whole.values())
        out = list(self._lines[:first])
        out += head({names[n]: self.tables[n] for n in order}, len(self._rows) - len(order))
        for place in range(first, len(self._lines)):
            if place in self._rows and place not in firsts:
                number, values = self._rows[place]
                out.append(row_of(names[number], self.tables[number], values))
            else:
                out.append(self._lines[place])
        return "\n".join(out)
