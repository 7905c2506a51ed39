"""Kinds of lines: what is left of a line when numbers, names and times are taken out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_DIGIT = re.compile(r"\d|\b[a-f]{7,}\b")
_SHORT_OF = re.compile(r"(\d{1,2})/(?!\1$)\d{1,2}")
"""Some of so many: two of three containers are ready."""
_MOST_WORDS = 10
"""Different words at one place of a line up to which they tell kinds apart."""
_LONGEST_SHOWN = 90


def templates(lines: Sequence[str]) -> list[str]:
    """Return each line's kind: its words, ``*`` for those with digits and those that vary."""
    split = [(line.replace(",", " ") if line[:1] == "{" else line).split() for line in lines]
    masked = [_masked(words) for words in split]
    few = max(12, len(lines) // 10)
    if len(set(masked)) > few:
        masked = _without_names(masked)
    return [_shown(words) for words in masked]


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


def _shown(words: tuple[str, ...]) -> str:
    out: list[str] = []
    for word in words:
        if word != "*" or out[-1:] != ["*"]:
            out.append(word)
    shown = " ".join(out)
    if len(shown) <= _LONGEST_SHOWN:
        return shown
    return f"{shown[:_LONGEST_SHOWN].rsplit(' ', 1)[0]} *"


def commonest(kinds: Sequence[str], missing: Sequence[int], most: int) -> list[tuple[str, int]]:
    """Return the ``most`` frequent kinds of the ``missing`` lines with how often they come."""
    return Counter(kinds[place] for place in missing if kinds[place]).most_common(most)
