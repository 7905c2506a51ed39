"""Where blocks of lines may begin in a text, how high they are, and what they have in common."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from .alignment import SHORT, Budget, Literals, Pattern, common, cost, literals, matched, tokens
from .record_lines import comes_again, first_words, is_record, paragraph

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
_NUMBERED = re.compile(r"\b[^\W\d]*+\d\w*+")


def said_in(parts: Sequence[Literals]) -> int:
    """Return what the literals of a block cost where they are written."""
    return sum(cost(part) for one in parts for part in one)


class Blocks:
    """The lines of a text, below the line ``above``, and their kinds.

    Lines are of one kind where they are the same but for words with numbers in them.
    """

    def __init__(self, lines: list[str], above: str) -> None:
        self.lines = lines
        self.budget = Budget()
        self.kinds = [_NUMBERED.sub("#", line[:LONGEST_LINE]) for line in lines]
        self._above = above
        self._tokens: list[list[str] | None] = [None] * len(lines)
        self._places: dict[str, list[int]] = defaultdict(list)
        for at, make in enumerate(self.kinds):
            self._places[make].append(at)

    def heights(self, at: int) -> list[int]:
        """Return the heights of a block that may begin at a line, the lowest first."""
        if not self.budget.take(len(self.lines[at])):
            return []
        below = self._same_kind(at)
        heights = [1] if self._alike(at, at + 1) or len(below) >= LEAST_ROWS - 1 else []
        if len(self.lines[at].strip()) < _LEAST_BEGUN:
            return heights
        near = [place - at for place in below if place - at <= _HIGHEST]
        blocks = [height for height in near if comes_again(self.kinds, at, height)]
        if not blocks and min(near, default=_HIGHEST) >= _HIGHEST:
            blocks += self._below(at)
        for height in sorted({*blocks, self._paragraph(at)}):
            block = self.lines[at : at + height]
            above = self.lines[at - 1] if at else self._above
            if 1 < height <= _HIGHEST and is_record(block, above):
                heights.append(height)
        return heights

    def _below(self, at: int) -> Iterator[int]:
        """Return the heights of blocks whose first line, at ``at``, differs in a word.

        A name, for example: the lines below it tell how high the blocks are. Where all of them
        have one, lines that are alike tell it.
        """
        heights = range(2, _HEAD_LINES + 2)
        yield from islice((height for height in heights if self._alternate(at, height)), 1)
        for inside in range(at + 1, min(at + _HEAD_LINES, len(self.lines) - 1) + 1):
            for place in self._same_kind(inside):
                height = place - inside
                if not inside - at < height <= _HIGHEST or not self.budget.take(CELLS_A_LINE):
                    continue
                if self._alike(at, at + height) and comes_again(self.kinds, at, height):
                    yield height

    def _alternate(self, at: int, height: int) -> bool:
        """Return whether each line of a block is like those one and two blocks below.

        The first must be more like that than like the next line.
        """
        if at + 3 * height > len(self.lines):
            return False
        if self._shared(at, at + height) < _MORE_ALIKE * self._shared(at, at + 1):
            return False
        if not self.budget.take(height * CELLS_A_LINE):
            return False
        lines = range(at, at + height)
        return all(self._alike(one, one + k * height) for one in lines for k in (1, 2))

    def _paragraph(self, at: int) -> int:
        """Return the height of the paragraph from a line on, if two more like it follow; else 0."""
        height = paragraph(self.lines, at, _HIGHEST)
        begins = first_words(self.lines, at, 3 * height)
        return height if height and comes_again(begins, 0, height) else 0

    def _alike(self, at: int, other: int) -> bool:
        """Return whether two lines have enough in common to be compared."""
        return self._shared(at, other) >= _ALIKE * len(self.lines[at]) > 0

    def _shared(self, at: int, other: int) -> int:
        """Return the characters of a line's tokens that another line has, too."""
        here, below = self._tokens_of(at), set(self._tokens_of(other))
        return sum(len(token) for token in here if token in below and token[0] != " ")

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
        patterns: list[Pattern] = [list(self._tokens_of(at + i)) for i in range(height)]
        parts: list[Literals] = [literals(pattern) for pattern in patterns]
        for number, place in enumerate(self._same_kind(at), 1):
            if place + height <= len(lines):
                patterns = self._wider(patterns, place) or patterns
                before, parts = parts, [literals(pattern) for pattern in patterns]
                if number >= LEAST_ROWS and said_in(parts) < said_in(before) - SHORT:
                    yield before
        if height > 1 or len(parts[0]) > 1:
            yield parts
        said = said_in(parts)
        end, widened = at + height, 0
        while end + height <= len(lines) and self.budget.take(CELLS_A_LINE):
            block = lines[end : end + height]
            if any(matched(p, line) is None for p, line in zip(parts, block, strict=True)):
                wider = self._wider(patterns, end) if widened < _MOST_WIDENED else None
                if wider is None:
                    break
                if end >= at + LEAST_ROWS * height and said_in(parts) < said - SHORT:
                    said = said_in(parts)
                    yield parts
                widened += 1
                patterns = wider
                parts = [literals(pattern) for pattern in patterns]
                if end >= at + (LEAST_ROWS - 1) * height and said_in(parts) < said - SHORT:
                    said = said_in(parts)
                    yield parts
            end += height
        if said_in(parts) < said - SHORT:
            yield parts

    def _same_kind(self, at: int) -> list[int]:
        """Return the next lines below that are the same but for words with numbers in them."""
        places = self._places[self.kinds[at]]
        first = bisect_right(places, at)
        return places[first : first + _KIND_TRIED]

    def _wider(self, patterns: list[Pattern], at: int) -> list[Pattern] | None:
        """Return what the patterns have in common with the block at a line, if it is enough."""
        wider = []
        size = kept = 0
        for number, pattern in enumerate(patterns):
            line = self.lines[at + number]
            found = None
            if len(line) <= LONGEST_LINE:
                found = common(pattern, self._tokens_of(at + number), self.budget)
            if found is None:
                return None
            wider.append(found)
            size += len(line)
            kept += sum(map(len, literals(found)))
        return wider if kept >= _KEPT * size > 0 else None
