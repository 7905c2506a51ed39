"""Lines and blocks of one make as rows: what they share is said once, in a line above them.

``12:00:01 INFO svc-3 took=40ms`` and 59 more of its kind become the line ``{} INFO svc-{} took={}``
and 60 rows of values, ``12:00:01 3 40ms``. A block of several lines (a failed test's report, an
entry of ``git log``) is one row likewise. Nothing is left out: putting a row's values in the places
gives the lines again, character for character.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple

from shared.content import Kind

from .line_blocks import LEAST_ROWS, Blocks, said_in
from .must_see import is_bad, standing_out
from .record_lines import differ
from .reversible import ReversibleForm
from .row_notes import ROW, Written, lines_of_rows
from .row_table import MOST_AT_ONCE, Table
from .search_lines import are_entries
from .stack_traces import traced
from .table_of_blocks import table_of
from .token_alignment import Kept, Literals, cost, costs, matched, whole

ROWS = "farm_records"
"""The form's name."""
_LEAST_SAVED = 60
"""Characters that a run of rows must save."""
_LEAST_SHARE = 0.15
"""What it must save of its lines: less does not justify that the reader looks at the line above."""
_HIGHER_WORTH = 1.4
"""How much more a higher block must save than a lower one, which is easier to read."""
_TRIES = 2
"""Times that a run is begun in vain at lines of the same kind."""
_SKIPPED = 8
"""The part of a run that is not worth it in which no other is begun."""
_FARTHEST = 300
"""Lines below that are looked at for more blocks of a make."""
_AGAIN, _NOTE = 40, 130
"""Characters of the notes."""
_BREAK = 20
"""What a whole line between rows costs a reader, in characters."""
_MOST_BREAKS = 0.5
"""Whole lines between rows, or groups of them, for each row: rows that stand alone say little."""
_LEAST_OF_LINES = 0.3
"""What higher blocks must be of the lines among which they stand."""
_MOST_FOR_A_ROW = 2
"""Values of a row for each row of a table: few rows of many values are a puzzle."""
_AHEAD = 2
"""Lines below that a run may begin at instead, and by which a table goes on."""
_BETTER = 1.05
"""How much more a run must save that leaves lines above it whole."""
_SAMPLE = 40
"""Lines of a run, about, by which it is measured."""
_HOPELESS = -0.4
"""What a run must be estimated to save, of its lines, to be measured."""
_TABLES_TRIED = 4
_NUMBER = re.compile(r"\d+")
_MOST_VALUES = 12
"""Values of a row that a reader can tell apart; of a block's lines with one value, its words."""


class _Run(NamedTuple):
    """Lines from ``at`` to ``end`` as the ``rows`` of a table."""

    at: int
    end: int
    table: Table
    rows: list[str]


def rows_of_records(
    text: str, kind: Kind, above: str = "", first: int = 0
) -> ReversibleForm | None:
    """Return ``text`` with lines and blocks of one make as rows; None where that saves nothing.

    ``above`` is the line that stands above it. The ``first`` lines stay, and all of a block that
    begins among them, so that the next one does not begin in its middle.

    A line that tells of a failure stays as it is among others that do not; where all of a block's
    tell of one, their words stay together. Stack traces stay. The work is bounded: what is behind
    the place where it ends stays as it is.
    """
    lines = text.split("\n")
    if kind == "search" and not are_entries(lines):
        return None  # its lines are some file's: they are searched for to be changed
    written = Written()
    at = 0
    for run in _runs(lines, kind, above, first):
        written.add_lines(lines[at : run.at])
        written.add_rows(run.table, run.rows)
        at = run.end
    written.add_lines(lines[at:])
    made = written.text()
    return ReversibleForm(made, lines_of_rows, ROWS) if cost(made) < cost(text) else None


def _runs(lines: list[str], kind: Kind, above: str, first: int) -> Iterator[_Run]:
    """Return the runs behind the ``first`` lines that are worth it, in order."""
    search = _Search(lines, kind, above)
    at = search.start(first)
    while at < len(lines):
        run = search.more(at)
        if run is None and at <= len(lines) - LEAST_ROWS and not search.goes_on(at):
            run = search.new(at)
        if run is not None:
            yield run
        at = run.end if run is not None else at + 1


class _Tried(NamedTuple):
    """What blocks at ``places``, of ``size`` characters, would save as rows of one table."""

    parts: list[Literals]
    places: list[int]
    size: int
    saved: int


class _Search:
    """Finds runs in the lines of a text."""

    def __init__(self, lines: list[str], kind: Kind, above: str) -> None:
        self._lines = lines
        self._blocks = Blocks(lines, above)
        self._log = kind in ("log", "search")
        self._errors = kind == "error"
        # What stands out of a table is told as a failure is.
        self._bad = standing_out(lines) if kind == "table" else set()
        """Lines that tell of a failure, of the ``_judged`` first ones."""
        self._judged = 0
        self._traced = traced(lines)
        self._current: Table | None = None
        """The table of the newest rows: more of them need no note."""
        self._tables: dict[Table, frozenset[int]] = {}
        """Those made so far, each with the lines of a block that may tell of a failure."""
        self._poor_until: dict[int, int] = {}
        self._of_height: Kept[tuple[int, int], _Tried | None] = Kept(self._blocks.budget)
        """The best blocks of each height that begin at a line: it may be looked at again."""
        self._in_vain: Counter[tuple[int, str]] = Counter()

    def start(self, first: int) -> int:
        """Return the line behind the ``first`` lines and the block that begins among them."""
        best = self._best(first) if 0 < first <= len(self._lines) - LEAST_ROWS else None
        self._in_vain.clear()
        self._poor_until.clear()
        height = len(best.parts) if best is not None else 1
        for at in range(first if height > 1 else 0):
            above = [self._tried(at, parts) for parts in self._blocks.shared(at, height)]
            if best is not None and any(_BETTER * one.saved > best.saved for one in above):
                return at + height
        return first

    def more(self, at: int) -> _Run | None:
        """Return the run from line ``at`` on of a table that is there already."""
        tables = list(self._tables)[: -_TABLES_TRIED - 1 : -1]
        if self._current is not None:
            tables = [self._current, *(table for table in tables if table != self._current)]
        for table in tables:
            run = self._run(table, self._rows(table, at))
            note = 0 if table == self._current else _AGAIN + _LEAST_SAVED // 2
            if run is not None and self._saved(run) > note:
                self._current = table
                return run
        return None

    def goes_on(self, at: int) -> bool:
        """Return whether the newest rows go on just below line ``at``."""
        table = self._current
        if table is None:
            return False
        last = len(self._lines) - table.height
        below = range(at + 1, min(at + max(_AHEAD, table.height), last) + 1)
        return any(self._run(table, islice(self._rows(table, n), 1)) for n in below)

    def new(self, at: int) -> _Run | None:
        """Return the run from line ``at`` on whose table saves most; None where none pays.

        None also where a run that begins a little below saves more.
        """
        best = self._best(at)
        if best is None:
            return None
        for below in range(at + 1, min(at + _AHEAD, len(self._lines) - LEAST_ROWS) + 1):
            if self._blocks.kinds[below] == self._blocks.kinds[at]:
                continue
            other = self._best(below)
            if other is not None and other.saved > _BETTER * best.saved:
                return None
        return self._first(best)

    def _best(self, at: int) -> _Tried | None:
        """Return the blocks from line ``at`` on whose rows save most; None where none pays."""
        best: _Tried | None = None
        for height in self._blocks.heights(at) if at not in self._traced else ():
            begun = (height, self._blocks.kinds[at])
            if at < self._poor_until.get(height, 0) or self._in_vain[begun] >= _TRIES:
                continue
            good = self._of_height.get((at, height), partial(self._best_of, at, height))
            if good is None or good.saved < max(_LEAST_SAVED, _LEAST_SHARE * good.size):
                self._in_vain[begun] += 1
                if good is not None and good.places and not self._is_bad(at):
                    # Runs that begin inside it are hardly better, and there may be many.
                    self._poor_until[height] = at + (good.places[-1] - at) // _SKIPPED
            elif best is None or good.saved > _HIGHER_WORTH * best.saved:
                best = good
        return best

    def _best_of(self, at: int, height: int) -> _Tried | None:
        """Return the blocks of a height from line ``at`` on whose rows save most, or least lose."""
        shared = self._blocks.shared(at, height)
        tried = [self._tried(at, parts) for parts in shared if differ(parts)]
        return max(tried, key=lambda one: one.saved, default=None)

    def _tried(self, at: int, parts: list[Literals]) -> _Tried:
        """Return what blocks with these literals save, in a row or with others between them."""
        height, cost_of = len(parts), self._blocks.costs
        places, end = self._blocks.places(at, parts, _FARTHEST)
        places = [p for p in places if self._traced.isdisjoint(range(p, p + height))]
        breaks = sum(1 for place, below in pairwise([*places, end]) if below > place + height)
        size = len(places) * height
        size += sum(cost_of[place + n] for place in places for n in range(height))
        good, framed = self._without_failures(places, parts)
        breaks += len(places) - len(good)
        said, gaps = said_in(framed), sum(map(len, framed)) - height
        row = said + height - max(gaps, 1) - len(ROW)
        saved = len(good) * row - breaks * _BREAK - said - 3 * gaps - _NOTE
        if len(good) < LEAST_ROWS or self._scattered(good, height, breaks):
            saved = 0
        elif height == 1 and saved > _HOPELESS * size:
            saved = self._measured(good, framed) - breaks * _BREAK - said - _NOTE
        return _Tried(framed, good, size, saved)

    def _scattered(self, places: list[int], height: int, breaks: int) -> bool:
        """Return whether rows of these blocks would stand alone among other lines."""
        if height == 1:
            return breaks > _MOST_BREAKS * len(places)
        return len(places) * height < _LEAST_OF_LINES * (places[-1] + height - places[0])

    def _measured(self, places: list[int], parts: list[Literals]) -> int:
        """Return what rows save of the lines at these places, by some of them.

        Other than an estimate it knows of columns that are aligned by blanks.
        """
        step = len(places) // _SAMPLE + 1
        lines = [self._lines[place] for place in places[::step]]
        made = table_of(parts, [[line] for line in lines])
        if made is None:
            return 0
        table, rows = made
        if step > 1 and table.asks_more_than(parts):
            others = table.lacking([self._lines[place] for place in places])
            if others:  # a column that is constant in the sample varies elsewhere
                made = table_of(parts, [[line] for line in (*lines, *others)])
                rows = made[1][: len(lines)] if made is not None else rows
        said = sum(costs([row or line for row, line in zip(rows, lines, strict=True)]))
        size = sum(self._blocks.costs[place] for place in places[::step])
        saved = size - said - len(ROW) * len(lines)
        return saved * len(places) // len(lines)

    def _without_failures(
        self, places: list[int], parts: list[Literals]
    ) -> tuple[list[int], list[Literals]]:
        """Leave out blocks with a failure where most have none; else keep its words together.

        Errors that are equal but for where they are say these words once for all.
        """
        framed = list(parts)
        if places:
            self._judge(places[-1] + len(parts))
        for number, one in enumerate(parts):
            good = [place for place in places if place + number not in self._bad]
            if 2 * (len(places) - len(good)) < len(places):
                places = good
            elif not (self._log or (self._errors and self._same_error(places, number))):
                framed[number] = whole(one)
        return places, framed

    def _same_error(self, places: Sequence[int], number: int) -> bool:
        """Return whether these lines of blocks say the same, but for numbers, behind a place."""
        lines = (self._lines[place + number] for place in places)
        return len({_NUMBER.sub("#", line.partition(": ")[2] or line) for line in lines}) == 1

    def _judge(self, end: int) -> None:
        """Find out which lines up to ``end`` tell of a failure."""
        new = range(self._judged, end)
        self._bad.update(at for at in new if is_bad(self._lines[at]))
        self._judged = max(self._judged, end)

    def _is_bad(self, at: int) -> bool:
        if at >= self._judged:
            self._judge(at + 1)
        return at in self._bad

    def _first(self, tried: _Tried) -> _Run | None:
        """Return the first run of these blocks; None where they make no table."""
        lines, height = self._lines, len(tried.parts)
        made = table_of(tried.parts, [lines[i : i + height] for i in tried.places])
        if made is None:
            return None
        table, rows = made
        most = min(_MOST_VALUES, _MOST_FOR_A_ROW * len(rows))
        if table.values + self._words_more(tried) > most:
            return None
        bad = [n for n in range(height) if any(self._is_bad(p + n) for p in tried.places)]
        self._tables[table] = frozenset(bad)
        self._current = table
        return self._run(table, zip(tried.places, rows, strict=True))

    def _words_more(self, tried: _Tried) -> int:
        """Return how many words more than one the values of a block's lines with one gap have."""
        height, first = len(tried.parts), tried.places[0]
        if height == 1:
            return 0
        block = self._lines[first : first + height]
        found = [matched(parts, line) for parts, line in zip(tried.parts, block, strict=True)]
        return sum(max(0, len(gaps[0].split()) - 1) for gaps in found if gaps and len(gaps) == 1)

    def _rows(self, table: Table, at: int) -> Iterator[tuple[int, str]]:
        """Return the rows of blocks from line ``at`` on, one below another, each with its line."""
        height, many = table.height, 1
        while at <= len(self._lines) - height and table.may_begin(self._lines[at]):
            last = min(at + many * height, len(self._lines))
            places = range(at, last - height + 1, height)
            rows = table.rows([self._lines[place : place + height] for place in places])
            yield from zip(places, rows, strict=False)
            if len(rows) < len(places):
                return
            at, many = places[-1] + height, min(2 * many, MOST_AT_ONCE)

    def _run(self, table: Table, rows: Iterable[tuple[int, str]]) -> _Run | None:
        """Return the first of ``rows``, each with its line, that stand without a gap."""
        found: list[str] = []
        own: list[int] = []
        begin = end = 0
        for place, row in rows:
            if not found:
                begin = end = place
                own = [n for n in range(table.height) if n not in self._tables[table]]
            if place != end or any(self._is_bad(place + n) for n in own):
                break
            if not self._traced.isdisjoint(range(place, place + table.height)):
                break
            found.append(ROW + row)
            end += table.height
        return _Run(begin, end, table, found) if found else None

    def _saved(self, run: _Run) -> int:
        """Return the characters that more rows of a known table save."""
        size = sum(self._blocks.costs[run.at : run.end]) + run.end - run.at
        return size - sum(map(cost, run.rows)) - len(run.rows)
