"""Kinds of lines: what is left of a line when numbers, names and times are taken out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Sequence
from functools import cached_property
from typing import NamedTuple

_DIGIT = re.compile(r"\d|\b[a-f]{7,}\b")
_SHORT_OF = re.compile(r"(\d{1,2})/(?!\1$)\d{1,2}")
"""Some of so many: two of three containers are ready."""
_ANY_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_MOST_DIGITS = 16
"""Characters of a number that can be compared exactly."""
_MOST_WORDS = 10
"""Different words at one place of a line up to which they tell kinds apart."""
_LEAST_OFTEN, _OFTEN = 4, 200
"""Times that a word comes often at a place, and the share of lines: one in so many."""
_MOST_PLACES = 12
"""Places of names in a line up to which kinds are compared: each costs a copy of every line."""
_FEW_ALONE = 0.05
"""The share of lines that may be like no other."""
_LONGEST_SHOWN = 90
_LONGEST_WORD = 60
"""Characters of a word that is compared with those of other lines."""


class Kinds:
    """The kinds of a text's lines; they are found when one asks for them, and once."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    @cached_property
    def of_lines(self) -> list[str]:
        """The kind of each line, as :func:`kinds_of` says."""
        return kinds_of(self.lines)


def kinds_of(lines: Sequence[str]) -> list[str]:
    """Return each line's kind: its words, ``*`` for those with digits and those that vary."""
    masked = [_masked(words) for words in map(_words, lines)]
    few = max(12, len(lines) // 10)
    if len(set(masked)) > few:
        masked = _without_names(masked, few)
    return [_shown(words) for words in masked]


def _words(line: str) -> list[str]:
    return (line.replace(",", " ") if line[:1] == "{" else line).split()


def _masked(words: list[str]) -> tuple[str, ...]:
    """Replace words with digits by ``*``, but for those that name a state: ``0/1``, ``" 404``."""
    return tuple(
        [
            word
            if not _DIGIT.search(word)
            or _SHORT_OF.fullmatch(word)
            or (len(word) == 3 and place and words[place - 1][-1] == '"' and word.isdigit())
            else "*"
            for place, word in enumerate(words)
        ]
    )


def _without_names(masked: list[tuple[str, ...]], few: int) -> list[tuple[str, ...]]:
    """Replace names by ``*``: words at places where lines of one length have many different ones.

    A word that comes often at such a place tells kinds apart, unless lines that are equal but for
    it have many others there. Where that leaves more than ``few`` kinds, all words there are names.
    A line of which all words there are rare is like no other: where there are few such lines, they
    keep their words.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for number, words in enumerate(masked):
        groups[len(words)].append(number)
    often, nothing = list(masked), list(masked)
    alone: list[int] = []
    for group in groups.values():
        columns = list(zip(*(masked[number] for number in group), strict=True))
        count = {at: Counter(words) for at, words in enumerate(columns)}
        count = {at: found for at, found in count.items() if len(found) > _MOST_WORDS}
        least = max(_LEAST_OFTEN, len(group) // _OFTEN)
        for number in group if count else ():
            words = masked[number]
            kept = {at for at in count if words[at] != "*" and count[at][words[at]] >= least}
            often[number] = _starred(words, count.keys() - kept)
            nothing[number] = _starred(words, count)
            if not kept and any(words[at] != "*" for at in count):
                alone.append(number)
        if len(count) <= _MOST_PLACES:
            _merge(often, group, list(count))
    found = often if len(set(often)) <= few else nothing
    if len(alone) <= _FEW_ALONE * len(masked):
        for number in alone:
            found[number] = masked[number]
    return found


def _starred(words: tuple[str, ...], places: Container[int]) -> tuple[str, ...]:
    return tuple(["*" if at in places else word for at, word in enumerate(words)])


def _merge(kinds: list[tuple[str, ...]], group: list[int], places: list[int]) -> None:
    """Replace words by ``*`` where kinds that are equal but for them have many others."""
    for at in places:
        others: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for number in group:
            others[_starred(kinds[number], (at,))].add(kinds[number][at])
        for number in group:
            starred = _starred(kinds[number], (at,))
            if len(others[starred]) > _MOST_WORDS:
                kinds[number] = starred


def _shown(words: Sequence[str]) -> str:
    out: list[str] = []
    for word in words:
        if word != "*" or out[-1:] != ["*"]:
            out.append(word)
    shown = " ".join(out)
    if len(shown) <= _LONGEST_SHOWN:
        return shown
    return f"{shown[:_LONGEST_SHOWN].rsplit(' ', 1)[0]} *"


def commonest(
    lines: Sequence[str], kinds: Sequence[str], missing: Sequence[int], most: int
) -> list[tuple[str, list[str]]]:
    """Return the ``most`` frequent ones of ``kinds`` among the ``missing`` lines, with these."""
    found: dict[str, list[str]] = defaultdict(list)
    for place in missing:
        if kinds[place]:
            found[kinds[place]].append(lines[place])
    return sorted(found.items(), key=lambda one: -len(one[1]))[:most]


def described(kind: str, lines: Sequence[str]) -> str:
    """Return the ``kind`` of ``lines`` with what their words have in common, in place of ``*``.

    That is the word itself, or the smallest and the largest number: ``took=1ms..898ms``. The kind
    stays as it is where its words do not stand at the same places in all lines.
    """
    split = [_words(line) for line in lines]
    if len({len(words) for words in split}) > 1:
        return kind
    shared = [_in_common(column) for column in zip(*split, strict=True)]
    following = iter(shared)
    named = [word for word in kind.split() if word != "*"]
    return _shown(shared) if all(word in following for word in named) else kind


class _Number(NamedTuple):
    """A word with a number: what stands before it, its digits, its unit, and what follows."""

    before: str
    digits: str
    unit: str
    after: str


def _in_common(words: Sequence[str]) -> str:
    if any(len(word) > _LONGEST_WORD for word in words):
        return "*"
    if len(set(words)) == 1:
        return words[0]
    numbers: list[_Number] = []
    for word in words:
        number = _number(word)
        if number is None or (numbers and number._replace(digits=numbers[0].digits) != numbers[0]):
            return "*"
        numbers.append(number)
    least = min(numbers, key=lambda number: float(number.digits))
    largest = max(numbers, key=lambda number: float(number.digits))
    if float(least.digits) == float(largest.digits):
        return "*"
    before, digits, unit, after = least
    part = len(before)  # where the word begins that the number is a part of
    while part and before[part - 1].isalnum():
        part -= 1
    return f"{before}{digits}{unit}..{before[part:]}{largest.digits}{unit}{after}"


def _number(word: str) -> _Number | None:
    """Return the parts of a word with one number; None without one, and where it has a sign."""
    found = _NUMBER.search(word)
    if found is None or len(found[0]) > _MOST_DIGITS or _ANY_DIGIT.search(word, found.end()):
        return None
    before, rest = word[: found.start()], word[found.end() :]
    joined = len(before) > 1 and before[-2].isalnum()
    signed = before[-1:] in ("-", "\N{MINUS SIGN}", "+", ".") and not joined
    version = "." in found[0] and before[-1:].isalpha()
    if signed or version:
        return None
    letters = next((n for n, sign in enumerate(rest) if not sign.isalpha()), len(rest))
    return _Number(before, found[0], rest[:letters], rest[letters:])
