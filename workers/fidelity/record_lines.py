"""Which lines a reader takes for one record: an entry, a paragraph, lines below an outer one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .alignment import Literals, tokens

_ALIKE_PARTS = 0.6
"""The share of their literals' words that alike lines of a block have in common, at least."""


def is_record(lines: Sequence[str], above: str) -> bool:
    """Return whether lines below ``above`` are a unit, from its first line to its last.

    None of them stands further out than the first. Where blank lines part them, they are whole
    paragraphs, unless the first line stands further out than all others.
    """
    depths = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    if not depths or depths[0] > min(depths):
        return False
    if len(depths) == len(lines) or depths[0] < min(depths[1:], default=0):
        return True
    return not above.strip() and not lines[-1].strip()


def paragraph(lines: Sequence[str], at: int, most: int) -> int:
    """Return how many lines a paragraph has from line ``at`` on, with the blank one; 0 if more."""
    for height in range(2, most + 1):
        below = at + height - 1
        if below >= len(lines):
            return 0
        if not lines[below].strip():
            return height
    return 0


def comes_again(names: Sequence[str], at: int, height: int) -> bool:
    """Return whether most lines of a block have the names of those a block below, twice."""
    for start in (at + height, at + 2 * height):
        pairs = zip(names[at : at + height], names[start : start + height], strict=False)
        if sum(1 for one, other in pairs if one == other) < height / 2:
            return False
    return True


def first_words(lines: Sequence[str], at: int, count: int) -> list[str]:
    """Return the first word of each of ``count`` lines from ``at`` on, empty for a blank line."""
    return [line.split(None, 1)[0] if line.strip() else "" for line in lines[at : at + count]]


def differ(parts: Sequence[Literals]) -> bool:
    """Return whether a block is more than lines that are alike: as lines those are easier to read.

    Two lines are alike where the one has most words of the other's literals. Blanks are none:
    lines of one indentation may say different things.
    """
    words = [[word for word in tokens("".join(one)) if word[0] != " "] for one in parts]
    alike = 0
    for one, other in pairwise(words):
        said = min(sum(map(len, one)), sum(map(len, other)))
        shared = sum(len(word) for word in one if word in other)
        alike += one == other or shared > _ALIKE_PARTS * said
    return 2 * alike < len(parts)
