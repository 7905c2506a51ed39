"""Where blocks of lines may begin in a text, how high they are, and what they have in common."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from .record_lines import PARTING, comes_again, first_words, is_record
from .token_alignment import (
    SHORT,
    Budget,
    Kept,
    Literals,
    Pattern,
    common,
    cost,
    costs,
    fitting,
    literals,
    matched,
    tokens,
)

LEAST_ROWS = 3
LONGEST_LINE = 600
CELLS_A_LINE = 10
"""What looking at a line costs of the budget."""
_HIGHEST = 16
_LEAST_BEGUN = 4
"""Characters of a line at which a block may begin."""
_HEAD_LINES = 3
"""Lines below a block's first that tell how high it is, if that one is of no other's kind."""
_KIND_TRIED = 3
"""Lines of the same kind below that a line is compared with."""
_ALIKE = 0.25
"""The share of a line's characters that the next one must have for the two to be compared."""
_MORE_ALIKE = 1.5
"""How much more a line must be like the one a block below than like the next."""
_MOST_TRIED = 5
"""Sets of common parts that are weighed against each other."""
_MOST_WIDENED = 20
"""Times that a run's common parts may shrink for a block that does not fit them."""
_KEPT = 0.1
"""What they must be of that block after it."""
_LIKE_A_ROW = "..."
"""What rows begin with: rows of such lines could not be told from the lines around."""
_NUMBERED = re.compile(r"\b[^\W\d]*+\d\w*+")


def said_in(parts: Sequence[Literals]) -> int:
    """Return what the literals of a block cost where they are written."""
    return sum(cost(part) for one in parts for part in one)


def _next_equal(names: Sequence[str], most: int) -> list[tuple[int, ...]]:
    """Return for each name where the next ones stand that are equal to it, ``most`` at most."""
    below: dict[str, tuple[int, ...]] = {}
    found: list[tuple[int, ...]] = []
    for at in range(len(names) - 1, -1, -1):
        places = below.get(names[at], ())
        found.append(places)
        below[names[at]] = (at, *places[: most - 1])
    found.reverse()
    return found


class Blocks:
    """The lines of a text, below the line ``above``, and their kinds.

    Lines are of one kind where they are the same but for words with numbers in them.
    """

    def __init__(self, lines: list[str], above: str) -> None:
        self.lines = lines
        self.budget = Budget()
        shown = "\n".join([line[:LONGEST_LINE] for line in lines])
        self.costs = costs(lines)
        self.kinds = _NUMBERED.sub("#", shown).split("\n")
        self._above = above
        self._blank = [at for at, line in enumerate(lines) if not line.strip()]
        self._begins = first_words(lines)
        self._tokens: list[list[str] | None] = [None] * len(lines)
        self._words: list[tuple[list[str], set[str]] | None] = [None] * len(lines)
        self._common: Kept[tuple[Pattern, str], tuple[Pattern, Literals] | None]
        self._common = Kept(self.budget)
        """What patterns have in common with lines: runs that begin elsewhere ask for it again."""
        self._same_kind = _next_equal(self.kinds, _KIND_TRIED)
        """The next lines below each that are the same but for words with numbers in them."""

    def heights(self, at: int) -> list[int]:
        """Return the heights of a block that may begin at a line, the lowest first."""
        if not self.budget.take(len(self.lines[at])) or self.lines[at].startswith(_LIKE_A_ROW):
            return []
        below = self._same_kind[at]
        with_next = self._shared(at, at + 1)
        heights = [1] if self._enough(at, with_next) or len(below) >= LEAST_ROWS - 1 else []
        if len(self.lines[at].strip()) < _LEAST_BEGUN:
            return heights
        near = [place - at for place in below if place - at <= _HIGHEST]
        blocks = [height for height in near if comes_again(self.kinds, at, height)]
        if not blocks and min(near, default=_HIGHEST) >= _HIGHEST:
            blocks += self._below(at, with_next)
        # What parts two groups of a search stands between rows: not all of them are parted.
        blocks += [h - 1 for h in blocks if self.lines[at + h - 1] == PARTING]
        for height in sorted({*blocks, self._paragraph(at)}):
            block = self.lines[at : at + height]
            above = self.lines[at - 1] if at else self._above
            if 1 < height <= _HIGHEST and is_record(block, above):
                heights.append(height)
        return heights

    def _below(self, at: int, with_next: int) -> list[int]:
        """Return the heights of blocks whose first line, at ``at``, differs in a word.

        A name, for example: the lines below it tell how high the blocks are. Where all of them
        have one, lines that are alike tell it. ``with_next`` is what it shares with the next line.
        """
        lowest = (h for h in range(2, _HEAD_LINES + 2) if self._alternate(at, h, with_next))
        found = list(islice(lowest, 1))
        for inside in range(at + 1, min(at + _HEAD_LINES, len(self.lines) - 1) + 1):
            for place in self._same_kind[inside]:
                height = place - inside
                if not inside - at < height <= _HIGHEST or not self.budget.take(CELLS_A_LINE):
                    continue
                if comes_again(self.kinds, at, height) and self._alike(at, at + height):
                    found.append(height)
        return found

    def _alternate(self, at: int, height: int, with_next: int) -> bool:
        """Return whether each line of a block is like those one and two blocks below.

        The first must be more like that than like the next line.
        """
        if at + 3 * height > len(self.lines):
            return False
        with_below = self._shared(at, at + height)
        if with_below < _MORE_ALIKE * with_next or not self.budget.take(height * CELLS_A_LINE):
            return False
        lines = range(at, at + height)
        return self._enough(at, with_below) and all(
            self._alike(one, one + k * height) for one in lines for k in (1, 2)
        )

    def _paragraph(self, at: int) -> int:
        """Return the height of the paragraph from a line on, if two more like it follow; else 0."""
        number = bisect_right(self._blank, at)
        if number == len(self._blank):
            return 0
        height = self._blank[number] - at + 1
        return height if height <= _HIGHEST and comes_again(self._begins, at, height) else 0

    def _alike(self, at: int, other: int) -> bool:
        """Return whether two lines have enough in common to be compared."""
        return self._enough(at, self._shared(at, other))

    def _enough(self, at: int, shared: int) -> bool:
        return shared >= _ALIKE * len(self.lines[at]) > 0

    def _shared(self, at: int, other: int) -> int:
        """Return the characters of a line's words and signs that another line has, too."""
        return sum(map(len, filter(self._words_of(other)[1].__contains__, self._words_of(at)[0])))

    def _words_of(self, at: int) -> tuple[list[str], set[str]]:
        found = self._words[at]
        if found is None:
            words = [token for token in self._tokens_of(at) if token[0] != " "]
            found = self._words[at] = words, set(words)
        return found

    def _tokens_of(self, at: int) -> list[str]:
        found = self._tokens[at]
        if found is None:
            found = self._tokens[at] = tokens(self.lines[at])
        return found

    def shared(self, at: int, height: int) -> Iterator[list[Literals]]:
        """Return what blocks from line ``at`` on have in common, less from one to the next."""
        return islice(self._grown(at, height), _MOST_TRIED)

    def _grown(self, at: int, height: int) -> Iterator[list[Literals]]:
        lines = self.lines
        if any(len(line) > LONGEST_LINE for line in lines[at : at + height]):
            return
        patterns: list[Pattern] = [tuple(self._tokens_of(at + i)) for i in range(height)]
        parts: list[Literals] = [(line,) for line in lines[at : at + height]]
        for number, place in enumerate(self._same_kind[at], 1):
            if place + height <= len(lines):
                before = parts
                patterns, parts = self._wider(patterns, place) or (patterns, parts)
                if number >= LEAST_ROWS and said_in(parts) < said_in(before) - SHORT:
                    yield before
        if height > 1 or len(parts[0]) > 1:
            yield parts
        said = said_in(parts)
        end, widened = at + height, 0
        while end + height <= len(lines) and self.budget.take(CELLS_A_LINE):
            block = lines[end : end + height]
            if None in map(matched, parts, block):
                wider = self._wider(patterns, end) if widened < _MOST_WIDENED else None
                if wider is None:
                    break
                if end >= at + LEAST_ROWS * height and said_in(parts) < said - SHORT:
                    said = said_in(parts)
                    yield parts
                widened += 1
                patterns, parts = wider
                if end >= at + (LEAST_ROWS - 1) * height and said_in(parts) < said - SHORT:
                    said = said_in(parts)
                    yield parts
            end += height
        if said_in(parts) < said - SHORT:
            yield parts

    def places(self, at: int, parts: Sequence[Literals], most: int) -> tuple[list[int], int]:
        """Return where blocks with these literals begin, in ``most`` lines from ``at`` on.

        No two of them overlap. Also returned is the first line that was not looked at.
        """
        lines, height = self.lines, len(parts)
        end = max(at, min(at + most, len(lines) - height + 1))
        begun = list(range(at, end))
        for number, one in enumerate(parts):
            fit, _ = fitting(one, lines, [place + number for place in begun])
            begun = [place - number for place in fit]
        looks = max(0, self.budget.left) // CELLS_A_LINE
        found: list[int] = []
        here = at
        for place in begun:
            inside = len(found) * (height - 1)  # lines of blocks but the first are not looked at
            if here <= place < at + inside + looks:
                found.append(place)
                here = place + height
        inside = len(found) * (height - 1)
        wanted = max(here, end) - at - inside
        self.budget.take(CELLS_A_LINE * min(wanted, looks + 1))
        return found, at + inside + min(wanted, looks)

    def _wider(
        self, patterns: list[Pattern], at: int
    ) -> tuple[list[Pattern], list[Literals]] | None:
        """Return what the patterns have in common with the block at a line, if it is enough.

        That is new patterns, and their literals.
        """
        wider: list[Pattern] = []
        parts: list[Literals] = []
        size = 0
        for place, pattern in enumerate(patterns, at):
            line = self.lines[place]
            found = None
            if len(line) <= LONGEST_LINE:
                found = self._common.get((pattern, line), partial(self._in_common, pattern, place))
            if found is None:
                return None
            wider.append(found[0])
            parts.append(found[1])
            size += len(line)
        kept = sum(len(part) for one in parts for part in one)
        return (wider, parts) if kept >= _KEPT * size > 0 else None

    def _in_common(self, pattern: Pattern, at: int) -> tuple[Pattern, Literals] | None:
        """Return what a pattern has in common with a line, and its literals."""
        found = common(pattern, self._tokens_of(at), self.budget)
        return (found, literals(found)) if found is not None else None
