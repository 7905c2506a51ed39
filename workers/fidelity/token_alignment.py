"""What lines have in common: their tokens, aligned, with gaps where they differ."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

_BLANKS = re.compile(r" {5,}")
_TOKEN = re.compile(r"\d+|T(?=\d\d:)|[^\W\d]\w*| +|[^\w ]")
SHORT = 2
"""Characters of a literal between two gaps that are not worth parting them."""
_FRAME = re.compile(r"[=:/\[\](){}<>|\"`@#_+*&%$\\0-9\t]|\w-|-\w|  ")
_WORD = r"[A-Za-z]{2,}"
_PROSE = re.compile(rf"(?<!\S){_WORD}[,;.:]?(?: {_WORD}[,;.:]?){{2}}(?!\S)")
"""Three plain words in a row, of a sentence."""
NEGATION = re.compile(r"\b(?:not|no|never|none|without|cannot)\b|n't\b", re.I)
_JOINTS = frozenset(".,:/-")
_CELLS = 400_000
"""Pairs of tokens that are compared in a text, at most: some 60 ms."""
_MOST_CELLS = 10_000
"""The same for two lines."""
_MOST_KEPT = 1000
"""Results of comparing that are kept of a text: some megabytes at most."""
_KNOWN = 2048
"""Literals of which it is kept whether they are frames: a text asks for the same ones often."""

Key = TypeVar("Key")
Value = TypeVar("Value")
Pattern = tuple[str | None, ...]
"""A line's tokens, None for each gap."""
Literals = tuple[str, ...]
"""What stands before, between and behind a line's gaps; a line without gaps has one."""


class Budget:
    """How much comparing is left; when it is spent, nothing more is found alike."""

    def __init__(self, cells: int = _CELLS) -> None:
        self._cells = cells

    @property
    def left(self) -> int:
        """Pairs that may still be compared; less than 0 where it is spent."""
        return self._cells

    def take(self, cells: int) -> bool:
        """Return whether so many pairs of tokens may still be compared, and count them."""
        self._cells -= cells
        return self._cells >= 0


class Kept(Generic[Key, Value]):
    """Results of comparing, kept for when they are asked for again: they take as much then."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._found: dict[Key, tuple[Value, int]] = {}

    def get(self, key: Key, find: Callable[[], Value]) -> Value:
        """Return what ``find`` returns, or returned before for this key."""
        before = self._budget.left
        known = self._found.get(key)
        if known is not None and known[1] <= before:
            self._budget.take(known[1])
            return known[0]
        found = find()
        if self._budget.left >= 0 and len(self._found) < _MOST_KEPT:
            self._found[key] = found, before - self._budget.left
        return found


def cost(text: str) -> int:
    """Return a text's size in characters; a run of blanks, one token to a model, is four."""
    return len(_BLANKS.sub("    ", text)) if "     " in text else len(text)


def costs(lines: Sequence[str]) -> list[int]:
    """Return the cost of each line."""
    return list(map(len, _BLANKS.sub("    ", "\n".join(lines)).split("\n"))) if lines else []


def tokens(line: str) -> list[str]:
    """Return words, numbers, signs and runs of blanks; joined they are the line."""
    return _TOKEN.findall(line)


def common(pattern: Sequence[str | None], line: Sequence[str], budget: Budget) -> Pattern | None:
    """Return what the pattern and a line's tokens have in common; None where the budget is spent.

    Common are as many characters as possible, in order.
    """
    first = 0
    most = min(len(pattern), len(line))
    while first < most and pattern[first] == line[first]:
        first += 1
    last = 0
    while last < most - first and pattern[-1 - last] == line[-1 - last]:
        last += 1
    ours = pattern[first : len(pattern) - last]
    theirs = line[first : len(line) - last]
    middle = _middle(ours, theirs, budget) if ours or theirs else []
    if middle is None:
        return None
    return _joined([*pattern[:first], *middle, *pattern[len(pattern) - last :]])


def _middle(
    ours: Sequence[str | None], theirs: Sequence[str], budget: Budget
) -> Sequence[str | None] | None:
    """Return what two runs that begin and end differently have in common; None as above.

    Long ones are aligned by the words that come once in each, as keys do, and between these.
    """
    cells = sum(1 for token in ours if token is not None) * len(theirs)
    if cells <= _MOST_CELLS:
        if not budget.take(cells):
            return None
        return _aligned(ours, theirs) if cells else [None]
    anchors = _once_in_both(ours, theirs)
    if not budget.take(len(ours) + len(theirs) if anchors else cells):
        return None
    if not anchors:
        return [None]
    out: list[str | None] = []
    i = j = 0
    for at, there in [*anchors, (len(ours), len(theirs))]:
        between = common(ours[i:at], theirs[j:there], budget)
        if between is None:
            return None
        out += between
        out += ours[at : at + 1]
        i, j = at + 1, there + 1
    return out


def _once_in_both(ours: Sequence[str | None], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of words that come once in each of two runs, as many as are in order."""
    one, other = Counter(ours), Counter(theirs)
    there = {token: j for j, token in enumerate(theirs) if other[token] == 1}
    pairs = [
        (i, there[token])
        for i, token in enumerate(ours)
        if token is not None and token in there and one[token] == 1 and len(token) > SHORT
    ]
    ends: list[int] = []
    """The smallest place in which an ordered run of each length ends."""
    last: list[int] = []
    """The pair that ends it."""
    before: list[int] = []
    """The pair before each pair in its run; -1: it is the first."""
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        last[length : length + 1] = [number]
    run: list[tuple[int, int]] = []
    number = last[-1] if last else -1
    while number >= 0:
        run.append(pairs[number])
        number = before[number]
    return run[::-1]


def _aligned(ours: Sequence[str | None], theirs: Sequence[str]) -> list[str | None]:
    """Return the tokens that two runs share in order, the most characters, with the gaps.

    What stands in only one of them is a part of a gap, however the others are aligned.
    """
    both = set(ours).intersection(theirs)
    left = [(i, token) for i, token in enumerate(ours) if token in both and token is not None]
    right = [(j, token) for j, token in enumerate(theirs) if token in both]
    one, other = [token for _, token in left], [token for _, token in right]
    pairs = [(n, n) for n in range(len(one))] if one == other else _paired(one, other)
    out: list[str | None] = []
    i = j = 0
    for n, m in pairs:
        at, token = left[n]
        if (at, right[m][0]) != (i, j):
            out.append(None)
        out.append(token)
        i, j = at + 1, right[m][0] + 1
    if i < len(ours) or j < len(theirs):
        out.append(None)
    return out


def _paired(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of equal tokens in two runs, in order, that are the most characters."""
    width = len(theirs) + 1
    best = [[0.0] * width]
    for token in reversed(ours):
        below = best[-1]
        row = [0.0] * width
        # A blank alone says nothing: it is shared only between shared words.
        weight = len(token) if token[0] != " " else 0.3
        for j in range(width - 2, -1, -1):
            found = below[j] if below[j] > row[j + 1] else row[j + 1]
            if token == theirs[j] and below[j + 1] + weight > found:
                found = below[j + 1] + weight
            row[j] = found
        best.append(row)
    best.reverse()
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        if ours[i] == theirs[j] and best[i][j] > max(best[i + 1][j], best[i][j + 1]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _joined(pattern: Sequence[str | None]) -> Pattern:
    """Return the pattern with one gap where several stand in a row."""
    return tuple(
        [t for i, t in enumerate(pattern) if t is not None or not i or pattern[i - 1] is not None]
    )


def literals(pattern: Sequence[str | None]) -> Literals:
    """Return the literal parts of a pattern.

    A number that a sign joins to the gap behind it belongs to the gap: ``00:{}`` is a time of
    which the hour happens to be the same, and other lines of the kind have another. So do blanks
    between gaps, and words of a sentence.
    """
    out: list[str | None] = []
    for token in pattern:
        if token is None:
            while len(out) > 1 and out[-1] in _JOINTS and (out[-2] or "").isdigit():
                del out[-2:]
            if len(out) > 1 and (out[-1] or "").isdigit():
                del out[-1]
            if len(out) > 1 and (out[-1] or "").isspace() and out[-2] is None:
                del out[-1]
            if not out or out[-1] is not None:
                out.append(None)
        else:
            out.append(token)
    found = [""]
    for token in out:
        if token is None:
            found.append("")
        else:
            found[-1] += token
    if len(found) == 1:
        return tuple(found)
    first, *middle, last = [part if _is_frame(part) else "" for part in found]
    return (first, *[part for part in middle if part], last)


@lru_cache(_KNOWN)
def _is_frame(part: str) -> bool:
    """Return whether a literal is the frame of values; else it is prose, and stays with them."""
    if len(part) <= SHORT or part.isspace() or _FRAME.search(part) is None or NEGATION.search(part):
        return False
    return _PROSE.search(part) is None


def whole(parts: Literals) -> Literals:
    """Return the literals around all gaps, cut back to whole words: what is between stays."""
    if len(parts) == 1:
        return parts
    first, last = parts[0], parts[-1]
    begin = max(first.rfind(sign) for sign in " /(") + 1
    end = last.find(" ")
    return (first[:begin], last[end:] if end >= 0 else "")


def fitting(
    parts: Literals, lines: Sequence[str], places: Sequence[int], widths: Sequence[int] = ()
) -> tuple[list[int], list[list[str]]]:
    """Return at which of ``places`` a line has these literals in order, and what is in its gaps.

    That is a list for each gap, of all lines. ``widths`` are the least characters of each gap, 0
    without it.
    """
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return [at for at in places if lines[at] == first], []
    longest, ends = max(parts, key=len), len(first) + len(last)
    found = [
        at
        for at in places
        if longest in lines[at]
        and lines[at].startswith(first)
        and lines[at].endswith(last)
        and len(lines[at]) >= ends
    ]
    rests = [lines[at][len(first) : len(lines[at]) - len(last)] for at in found]
    columns: list[list[str]] = []
    for number, part in enumerate(parts[1:-1]):
        width = widths[number] if widths else 0
        cuts = [rest.find(part, width) for rest in rests]
        if min(cuts, default=0) < 0:
            fit = [n for n, cut in enumerate(cuts) if cut >= 0]
            found, cuts = [found[n] for n in fit], [cuts[n] for n in fit]
            rests, *columns = ([column[n] for n in fit] for column in (rests, *columns))
        columns.append([rest[:cut] for rest, cut in zip(rests, cuts, strict=True)])
        rests = [rest[cut + len(part) :] for rest, cut in zip(rests, cuts, strict=True)]
    return found, [*columns, rests]


def matched(parts: Literals, line: str) -> list[str] | None:
    """Return what stands in the gaps of a line; None where it has not these literals in order."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return [] if line == first else None
    end = len(line) - len(last)
    at = len(first)
    if end < at or not line.startswith(first) or not line.endswith(last):
        return None
    found = []
    for part in parts[1:-1]:
        place = line.find(part, at, end)
        if place < 0:
            return None
        found.append(line[at:place])
        at = place + len(part)
    found.append(line[at:end])
    return found
