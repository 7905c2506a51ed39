"""Kinds of lines: what is left of a line when numbers, names and times are taken out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_DIGIT = re.compile(r"\d|\b[a-f]{7,}\b")
_SHORT_OF = re.compile(r"(\d{1,2})/(?!\1$)\d{1,2}")
"""Some of so many: two of three containers are ready."""
_NUMBER = re.compile(r"(\D*)(\d{1,15}(?:\.\d{1,15})?)([^\W\d_]*)(\D*)")
"""A number with what stands before it, its unit, and what follows."""
_MOST_WORDS = 10
"""Different words at one place of a line up to which they tell kinds apart."""
_LONGEST_SHOWN = 90


def templates(lines: Sequence[str]) -> list[str]:
    """Return each line's kind: its words, ``*`` for those with digits and those that vary."""
    masked = [_masked(words) for words in map(_words, lines)]
    few = max(12, len(lines) // 10)
    if len(set(masked)) > few:
        masked = _without_names(masked)
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


def _without_names(masked: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Replace words by ``*`` at places where lines of one length have many different ones."""
    groups: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for words in masked:
        groups[len(words)].append(words)
    varies = {
        (size, place)
        for size, group in groups.items()
        for place in range(size)
        if len({words[place] for words in group}) > _MOST_WORDS
    }
    return [
        tuple(["*" if (len(words), place) in varies else w for place, w in enumerate(words)])
        for words in masked
    ]


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
    lines: Sequence[str], missing: Sequence[int], most: int
) -> list[tuple[str, list[str]]]:
    """Return the ``most`` frequent kinds of the ``missing`` lines with their lines."""
    kinds = templates(lines)
    found: dict[str, list[str]] = defaultdict(list)
    for place in missing:
        if kinds[place]:
            found[kinds[place]].append(lines[place])
    return sorted(found.items(), key=lambda one: -len(one[1]))[:most]


def described(kind: str, lines: Sequence[str]) -> str:
    """Return the ``kind`` of ``lines`` with what their words have in common, in place of ``*``.

    That is the word itself, or the smallest and the largest number: ``took=1ms..898ms``.
    """
    split = [_words(line) for line in lines]
    if len({len(words) for words in split}) > 1:
        return kind
    return _shown([_in_common(column) for column in zip(*split, strict=True)])


def _in_common(words: Sequence[str]) -> str:
    if len(set(words)) == 1:
        return words[0]
    found = [match for match in map(_NUMBER.fullmatch, words) if match is not None]
    around = {(match[1], match[3], match[4]) for match in found}
    if len(found) < len(words) or len(around) > 1:
        return "*"
    least = min(found, key=lambda match: float(match[2]))
    largest = max(found, key=lambda match: float(match[2]))
    before, _, unit, after = least.groups()
    again = before if before[-1:].isalnum() else ""  # or the number would be part of its last word
    return f"{before}{least[2]}{unit}..{again}{largest[2]}{unit}{after}"
