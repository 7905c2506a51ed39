"""How far two texts have equal lines, one after the other, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .line_numbers import Numbering
from .lines import Text


class There(NamedTuple):
    """Line ``at`` of all sources' lines, with their numbers; ``numbering`` is its source's."""

    keys: Sequence[str | None]
    numbers: Sequence[int]
    numbering: Numbering | None
    at: int


def run_through(here: Text, i: int, floor: int, there: There) -> tuple[int, int, bool]:
    """Return the run through own line ``i``, not above ``floor``, and the source's line.

    The run is given as the number of lines before ``i`` and from ``i`` on, and whether they are
    equal without changes. If not, printed numbers are consecutive in both texts, so that the
    inverse is exact.
    """
    own, own_numbers = here.keys, here.numbers
    keys, numbers, numbering, at = there
    most, least = here.total - i, i - floor
    n, m = own_numbers[i], numbers[at]
    alike = here.numbering == numbering
    same = n == m and (alike or not n)
    forward, back = 1, 1
    if same:
        while forward < most and own[i + forward] == keys[at + forward]:
            number = own_numbers[i + forward]
            if number != numbers[at + forward] or (number and not alike):
                break
            forward += 1
        while back <= least and own[i - back] == keys[at - back]:
            number = own_numbers[i - back]
            if number != numbers[at - back] or (number and not alike):
                break
            back += 1
    else:
        # A diff's sign does not count the lines.
        ours = 0 if here.numbering is not None and here.numbering.sign else 1
        while forward < most and own[i + forward] == keys[at + forward]:
            if not _step(n, own_numbers[i + forward], ours * forward):
                break
            if not _step(m, numbers[at + forward], forward):
                break
            forward += 1
        while back <= least and own[i - back] == keys[at - back]:
            if not _step(n, own_numbers[i - back], -ours * back):
                break
            if not _step(m, numbers[at - back], -back):
                break
            back += 1
    return back - 1, forward, same


def _step(number: int, other: int, lines: int) -> bool:
    """Return whether ``other`` is the number of the line ``lines`` after ``number``."""
    return other == number + lines and other > 0 if number else other == 0
