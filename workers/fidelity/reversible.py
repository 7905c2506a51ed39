"""Forms that give the exact text back: what repeats is said once.

Each has its inverse beside it. None is needed to read the text: the notes say what was done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from . import omission_notes as notes

_CUT = re.compile(r"[:/\\]|(?<!\.\w)(?<!\.\w\w)(?<!\.\w{3})(?<!\.\w{4})\(|(?:\.\w{1,5}|\b\d+)-")
"""Where a beginning ends: not in a name, nor between a file and the place in it, ``a.ts(12,7)``."""
_LEAST_PREFIX, _LEAST_RUN, _LEAST_SAVED = 10, 3, 40
_LONGEST_PREFIX = 200
_MOST_CUTS = 16
_NOTE_COST = len(notes.begin(10, ""))
_MATCH = re.compile(r"(.+?)([:-])(\d+)\2(.*)", re.S)
_UNDER = re.compile(r"(\d+)([:-])")
_MODE = re.compile(r"[-dlcbps][rwxsStT-]{9}")


class ReversibleForm(NamedTuple):
    """A shorter text and the function that gives the text it was made of."""

    text: str
    inverse: Callable[[str], str]
    name: str


def folded_repeats(text: str) -> ReversibleForm | None:
    """Return ``text`` with runs of equal lines said once."""
    out: list[str] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        end = at + 1
        while end < len(lines) and lines[end] == lines[at]:
            end += 1
        count = end - at - 1
        note = notes.repeated(count)
        if count and count * (len(lines[at]) + 1) > len(note) + 20:
            out += [lines[at], note]
        else:
            out += lines[at:end]
        at = end
    made = "\n".join(out)
    return (
        ReversibleForm(made, _unfolded_repeats, "farm_repeats") if len(made) < len(text) else None
    )


def _unfolded_repeats(text: str) -> str:
    out: list[str] = []
    for line in text.split("\n"):
        found = notes.REPEATED.fullmatch(line)
        out += [out[-1]] * int(found[1]) if found else [line]
    return "\n".join(out)


def folded_prefixes(text: str) -> ReversibleForm | None:
    """Return ``text`` with the long beginnings that lines in a row share said once."""
    lines = text.split("\n")
    out: list[str] = []
    at = 0
    while at < len(lines):
        prefix, end = _best_run(lines, at)
        if prefix:
            out.append(notes.begin(end - at, prefix))
            out += [line[len(prefix) :] for line in lines[at:end]]
            at = end
        else:
            out.append(lines[at])
            at += 1
    made = "\n".join(out)
    return (
        ReversibleForm(made, _unfolded_prefixes, "farm_prefix") if len(made) < len(text) else None
    )


def _best_run(lines: list[str], at: int) -> tuple[str, int]:
    """Return the prefix from line ``at`` on that saves most, and where its run ends."""
    first = lines[at]
    if at + _LEAST_RUN > len(lines) or _MODE.match(first):
        return "", at
    other = lines[at + _LEAST_RUN - 1]
    common = _common(first, other)
    cuts = [m.end() for m in _CUT.finditer(first, 0, common) if m.end() >= _LEAST_PREFIX]
    best, best_end, best_saved = "", at, _LEAST_SAVED
    end_before = len(lines)
    for cut in cuts[-_MOST_CUTS:]:
        prefix = first[:cut]
        end = at + 1
        while end < end_before and lines[end].startswith(prefix) and len(lines[end]) > cut:
            end += 1
        end_before = end  # a longer prefix cannot reach further
        count = end - at
        saved = count * cut - cut - _NOTE_COST
        if count >= _LEAST_RUN and saved > best_saved and len(first) > cut:
            best, best_end, best_saved = prefix, end, saved
    return best, best_end


def _common(one: str, other: str) -> int:
    most = min(len(one), len(other), _LONGEST_PREFIX)
    for place in range(most):
        if one[place] != other[place]:
            return place
    return most


def _unfolded_prefixes(text: str) -> str:
    out: list[str] = []
    left, prefix = 0, ""
    for line in text.split("\n"):
        found = notes.BEGIN.fullmatch(line) if not left else None
        if found is not None:
            left, prefix = int(found[1]), found[2]
        elif left:
            out.append(prefix + line)
            left -= 1
        else:
            out.append(line)
    return "\n".join(out)


def grouped_matches(text: str) -> ReversibleForm | None:
    """Return a search's matches under their paths: ``path:12:line`` as ``12:line``."""
    out = [notes.PATHS]
    path = ""
    for line in text.split("\n"):
        found = _MATCH.fullmatch(line)
        if found is None:
            path = ""
            out.append(line)
            continue
        if found[1] != path:
            path = str(found[1])
            out.append(path)
        out.append(line[len(path) + 1 :])
    made = "\n".join(out)
    return (
        ReversibleForm(made, _ungrouped_matches, "farm_search") if len(made) < len(text) else None
    )


def _ungrouped_matches(text: str) -> str:
    lines = text.split("\n")
    if lines[0] != notes.PATHS:
        raise ValueError("not grouped")
    out: list[str] = []
    path = ""
    for place, line in enumerate(lines[1:], 1):
        found = _UNDER.match(line)
        if found is not None and path:
            out.append(f"{path}{found[2]}{line}")
        elif place + 1 < len(lines) and _UNDER.match(lines[place + 1]):
            path = line
        else:
            path = ""
            out.append(line)
    return "\n".join(out)
