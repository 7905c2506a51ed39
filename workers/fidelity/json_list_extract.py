"""A long JSON list as a table of which some rows are in sight."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from . import omission_notes as notes
from .json_form import header, rows_of
from .line_kinds import kinds_of
from .must_see import is_bad
from .outliers import rare_ones, spelled_otherwise

_LEAST_ROWS = 60
_FIRST, _LAST = 10, 5
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TEXT = re.compile(r"(?:[^\W\d]{2,}\W+){2}[^\W\d]{2,}")
"""Words that follow each other, whatever stands between them."""
_FEW_LINES = 2
"""Line breaks of a text from which it is compared as it is: issues may begin with one template."""
_FEW = 12
"""Different values of a column up to which each is shown, and counted where it is missing."""


def shortened_rows(tree: Any, digest: str) -> str | None:
    """Return a parsed JSON list as a table with some of its rows; None where it is no long one."""
    found = rows_of(tree)
    if found is None or len(found[1]) < _LEAST_ROWS:
        return None
    keys, rows = found
    kept = set(range(_FIRST)) | set(range(len(rows) - _LAST, len(rows)))
    few = _columns_of_few(keys, rows)
    lines = [",".join(row) for row in rows]
    bad = {place for place, line in enumerate(lines) if is_bad(line)}
    if len(bad) > len(rows) / 2:
        return None
    kept |= bad | _extreme(keys, rows) | _each_value(few, rows) | _with_own_text(keys, rows)
    kept |= spelled_otherwise(lines, [""] * len(lines))
    missing = [place for place in range(len(rows)) if place not in kept]
    if len(missing) < len(rows) / 3:
        return None
    out = [header(len(rows), keys), *notes.shown_of(lines, kept, "row")]
    for column in few:
        for value, count in Counter(rows[p][column] for p in missing).most_common(4):
            out.append(notes.like(count, f"{keys[column]}: {value}", "rows"))
    out.append(notes.marker(len(missing), digest, "rows"))
    return "\n".join(out)


def _columns_of_few(keys: Sequence[str], rows: list[list[str]]) -> list[int]:
    return [
        column
        for column in range(len(keys))
        if 1 < len({row[column] for row in rows}) <= _FEW and len(rows[0][column]) < 60
    ]


def _each_value(few: list[int], rows: list[list[str]]) -> set[int]:
    """Return the first two rows of each value of the columns with few values, and all rare ones."""
    kept: set[int] = set()
    for column in few:
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            places[row[column]].append(place)
        for found in places.values():
            kept.update(found if len(found) <= 3 else found[:2])
    return kept


def _with_own_text(keys: Sequence[str], rows: list[list[str]]) -> set[int]:
    """Return the rows with a text that no other row has, apart from numbers and names.

    What people wrote, sources and diffs are such texts; messages of programs come again and again.
    """
    kept: set[int] = set()
    for column in range(len(keys)):
        texts = {p: row[column] for p, row in enumerate(rows) if _TEXT.search(row[column])}
        kinds = kinds_of(list(texts.values()))
        kinds = [
            text if text.count("\\n") >= _FEW_LINES else kind
            for text, kind in zip(texts.values(), kinds, strict=True)
        ]
        often = Counter(kinds)
        kept.update(
            place
            for place, kind in zip(texts, kinds, strict=True)
            if often[kind] == 1 or _is_any(kind)
        )
    return kept


def _is_any(kind: str) -> bool:
    """Return whether most words of this kind of texts vary: it says nothing of what they say."""
    words = kind.split()
    return sum("*" in word for word in words) > len(words) / 2


def _extreme(keys: Sequence[str], rows: list[list[str]]) -> set[int]:
    """Return the rows with the smallest and the largest number of each column of numbers.

    Also those whose value is of another type than nearly all of the column's: ``null``, ``""``.
    """
    kept: set[int] = set()
    for column in range(len(keys)):
        values = [row[column] for row in rows]
        kept.update(rare_ones(map(_type, values)))
        numbers = [(float(v), place) for place, v in enumerate(values) if _type(v) == "number"]
        if 2 * len(numbers) > len(rows):
            kept |= {max(numbers)[1], min(numbers)[1]}
    return kept


def _type(value: str) -> str:
    """Return what type of value this JSON is; empty strings, lists and objects are types, too."""
    if value[:1] in ('"', "[", "{"):
        return value if len(value) == 2 else value[:1]
    return "number" if _NUMBER.fullmatch(value) else value
