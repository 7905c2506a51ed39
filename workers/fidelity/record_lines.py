"""Which lines a reader takes for one record: an entry, a paragraph, lines below an outer one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from operator import eq

from .token_alignment import Literals, tokens

PARTING = "--"
"""The line that a search with context prints between its groups."""
_ALIKE_PARTS = 0.6
"""The share of their literals' words that alike lines of a block have in common, at least."""
_LEAST_COLUMNS = 5
"""Words of a line from which on it may be one of a table."""
_INDENTATION = " \t\xa0│├└─┃┣┗━╰"
"""What stands before an entry: blanks, or the branches that ``tree`` draws."""


def is_record(lines: Sequence[str], above: str) -> bool:
    """Return whether lines below ``above`` are a unit, from its first line to its last.

    None of them stands further out than the first. Where blank lines part them, they are whole
    paragraphs, unless the first line stands further out than all others. What parts the groups of
    a search is inside of no unit. Lines of a table are a unit each.
    """
    if PARTING in lines[1:-1]:
        return False
    if len(lines) > 1 and _most_with_columns(lines) > len(lines) / 2:
        return False
    depths = [len(line) - len(line.lstrip(_INDENTATION)) for line in lines if line.strip()]
    if not depths or depths[0] > min(depths):
        return False
    if len(depths) == len(lines) or depths[0] < min(depths[1:], default=0):
        return True
    return not above.strip() and not lines[-1].strip()


def _most_with_columns(lines: Sequence[str]) -> int:
    """Return how many lines have the same columns of words and numbers, and enough of them."""
    rows = [tuple([word.isdecimal() for word in line.split()]) for line in lines]
    count = Counter(row for row in rows if len(row) >= _LEAST_COLUMNS and any(row))
    return max(count.values(), default=0)


def comes_again(names: Sequence[str], at: int, height: int) -> bool:
    """Return whether most lines of a block have the names of those a block below, twice."""
    block = names[at : at + height]
    for start in (at + height, at + 2 * height):
        if 2 * sum(map(eq, block, names[start : start + height])) < height:
            return False
    return True


def first_words(lines: Sequence[str]) -> list[str]:
    """Return the first word of each line, empty for a blank one."""
    return [(line.split(None, 1) or [""])[0] for line in lines]


def differ(parts: Sequence[Literals]) -> bool:
    """Return whether a block is more than lines that are alike: as lines those are easier to read.

    Two lines are alike where the one has most words of the other's literals. Blanks are none:
    lines of one indentation may say different things.
    """
    if len(parts) == 1:
        return True
    words = [[word for word in tokens("".join(one)) if word[0] != " "] for one in parts]
    alike = 0
    for one, other in pairwise(words):
        said = min(sum(map(len, one)), sum(map(len, other)))
        shared = sum(len(word) for word in one if word in other)
        alike += one == other or shared > _ALIKE_PARTS * said
    return 2 * alike < len(parts)
