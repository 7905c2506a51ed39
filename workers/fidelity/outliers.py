"""Lines that differ from others of their kind by a number, or by how a value is spelled."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice

_NUMBER = re.compile(
    r"(\d\d*+(?:\.\d+)?)(?:([dhm]\d[\d.dhm]*)|([eE][+-]?\d{1,3}))?([A-Za-zµμ°%]{0,3})"
    r'(?=[,;)\]}|"]|$)'
)
"""A number, the rest of a duration or an exponent, a unit; to begin with a digit makes it fast."""
_JOINTS = ("_", ".", "-", ":")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_TIMES = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0,
    "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_SIZE = re.compile(r"([kKMGTP])i?[bB]?|([kmgtp])i?b")
_MOST_NUMBERS = 12
"""Numbers of a word, as in a line of CSV, that are compared with those of other lines."""
_LEAST_LINES = 8
"""Lines of a kind from which on its numbers are compared."""
_DIGITS = re.compile(r"\d+")
_USUAL, _RARE = 0.9, 2
"""The share of lines that spell a value the usual way, and how many others are rare."""
_MOST_OTHERS = 5
"""Unusual values of a column up to which they are few."""
_SIGNS = str.maketrans(dict.fromkeys("=@:/-_[](){}<>,;|#\"'", " "))
"""What parts the parts of a word, as in ``pool-2-thread-1`` and ``main@1f2e3d``."""
_LEAST_SPELLED = 20
"""Lines of a kind from which on a spelling may be usual."""


def extremes(lines: Sequence[str], kinds: Sequence[str], *, smallest: bool) -> set[int]:
    """Return of each frequent kind the lines with the largest number at each of its places.

    A place is the number's word, counted from the line's beginning or from its end; where fewer
    than half of a kind's lines have a number, it is no measurement (an id that happens to have
    digits only).
    Lines of kinds that are not frequent are compared with each other. ``smallest`` asks for the
    lines with the smallest, too.
    """
    count = Counter(kinds)
    groups: dict[Hashable, int] = defaultdict(int)
    columns: dict[tuple[Hashable, int, int], list[tuple[float, int]]] = defaultdict(list)
    numbers_of: dict[str, list[float]] = {}
    for place, line in enumerate(lines):
        kind, words = kinds[place], line.split()
        group: Hashable = kind if count[kind] >= _LEAST_LINES else len(words)
        groups[group] += 1
        for at, word in enumerate(words):
            found = numbers_of.get(word)
            if found is None:
                found = numbers_of[word] = _numbers(word)
            for n, number in enumerate(found):
                columns[group, at, n].append((number, place))
                columns[group, at - len(words), n - len(found)].append((number, place))
    kept: set[int] = set()
    for (group, _, _), column in columns.items():
        numbers = [number for number, _ in column]
        rare = groups[group] < _LEAST_LINES or 2 * len(column) < groups[group]
        if rare or numbers == sorted(numbers):
            continue
        kept.add(column[numbers.index(max(numbers))][1])
        if smallest:
            kept.add(column[numbers.index(min(numbers))][1])
    return kept


def _numbers(word: str) -> list[float]:
    """Return the numbers of a word that are no part of a name, a date or a version."""
    numbers: list[float] = []
    for found in islice(_NUMBER.finditer(word), _MOST_NUMBERS):
        before = word[: found.start()]
        sign = before[-1:] if before[-1:] in ("-", "+") else ""
        before = before.removesuffix(sign)
        if before[-1:].isalnum() or (before[-1:] in _JOINTS and before[-2:] != '":'):
            continue
        numbers.append(-_value(found) if sign == "-" else _value(found))
    return numbers


def _value(found: re.Match[str]) -> float:
    digits, more, exponent, unit = found.groups()
    if more:
        return sum(float(n) * _TIMES[of] for n, of in _PART.findall(found[0]))
    return float(digits + (exponent or "")) * _scale(unit)


def _scale(unit: str) -> float:
    """Return what one of a unit is, among times or among sizes; 1 for others."""
    if not unit or unit in _TIMES:
        return _TIMES.get(unit, 1.0)
    size = _SIZE.fullmatch(unit)
    return 1e3 ** (1 + "KMGTP".index((size[1] or size[2]).upper())) if size else 1.0


def spelled_otherwise(lines: Sequence[str], kinds: Sequence[str]) -> set[int]:
    """Return the lines of frequent kinds of which a word is one that few others have.

    ``node-9`` among many of ``node-1`` is, or another part of a word. By its spelling, where how
    many digits a number has is no matter, ``-5C`` among ``+21C`` and ``+8C`` is, or ``2m1s`` among
    ``12s`` and ``7s``. A line with another number of words than the others is rare, too.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, kind in enumerate(kinds):
        places[kind].append(place)
    kept: set[int] = set()
    for those in places.values():
        if len(those) < _LEAST_SPELLED:
            continue
        split = [_words(_DIGITS.sub("0", lines[place])) for place in those]
        kept.update(those[n] for n in rare_ones([len(words) for words in split]))
        kept |= _in_columns(those, split, rare_ones)
        parts = [lines[place].translate(_SIGNS).split() for place in those]
        kept |= _in_columns(those, parts, first_of_rare)
        if len(set(map(len, parts))) > 1:  # then words are compared of more lines than their parts
            kept |= _in_columns(those, [_words(lines[p]) for p in those], first_of_rare)
    return kept


def _in_columns(
    places: list[int], rows: list[list[str]], rare: Callable[[Sequence[str]], list[int]]
) -> set[int]:
    """Return the places of ``rare`` values of a column of rows, those of the usual length."""
    usual = Counter(map(len, rows)).most_common(1)[0][0]
    same = [n for n, row in enumerate(rows) if len(row) == usual]
    columns = zip(*(rows[n] for n in same), strict=True)
    return {places[same[n]] for column in columns for n in rare(column)}


def _words(line: str) -> list[str]:
    """Return the words and the cells of a line, its empty cells too."""
    if ",," in line:
        line = line.replace(",,", ",_,").replace(",,", ",_,")
    return line.replace(",", " ").split()


def first_of_rare(values: Sequence[str]) -> list[int]:
    """Return where the few values that are not the usual one first are; nothing if none is usual.

    The usual one is looked for at three places only: most columns have none.
    """
    some = Counter((values[0], values[len(values) // 2], values[-1]))
    usual = some.most_common(1)[0][0]
    most = values.count(usual)
    if most == len(values) or most < _USUAL * len(values):
        return []
    others = {value for value in values if value != usual}
    return [values.index(value) for value in others] if len(others) <= _MOST_OTHERS else []


def rare_ones(values: Iterable[Hashable]) -> list[int]:
    """Return where few of ``values`` are not the usual one; nothing where none is usual."""
    known = list(values)
    count = Counter(known)
    if not known or len(count) == 1 or len(count) > 1 + _RARE:
        return []
    usual, most = count.most_common(1)[0]
    if len(known) - most > _RARE or most < _USUAL * len(known):
        return []
    return [place for place, value in enumerate(known) if value != usual]
