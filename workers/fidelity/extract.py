"""An extract: whole lines in their order, a note where some are missing, a marker at the end."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence

from . import omission_notes as notes
from .folders import by_folder
from .line_kinds import Kinds, commonest, described
from .verify_form import plain

_SMALLEST_GAP = 60
"""Characters: a shorter gap costs about as much as the note that would stand for it."""
_MOST_KINDS = 8


def extract(
    lines: Sequence[str], kept: Collection[int], digest: str, *, kinds: Kinds | None
) -> str | None:
    """Return the kept ones of ``lines``, notes and the marker; None where nothing is missing.

    With ``kinds`` the missing lines are counted by their kind, too, and paths by their folder.
    """
    shown = _with_small_gaps(lines, set(kept))
    missing = [place for place in range(len(lines)) if place not in shown]
    if not missing:
        return None
    out = notes.shown_of(lines, shown)
    folders = by_folder([lines[place] for place in missing]) if kinds is not None else []
    out += [notes.like(count, name, all_of=len(missing)) for name, count in folders if count > 2]
    if kinds is not None and not folders:
        for kind, those in commonest(lines, kinds.of_lines, missing, _MOST_KINDS):
            told = described(kind, those) if len(those) > 2 else ""
            if told.strip("* "):
                out.append(notes.like(len(those), told, all_of=len(missing)))
    out.append(notes.marker(len(missing), digest))
    return "\n".join(out)


def _with_small_gaps(lines: Sequence[str], kept: set[int]) -> set[int]:
    """Return ``kept`` with the lines of gaps that are not worth a note."""
    shown = set(kept)
    gap: list[int] = []
    size = 0
    for place in range(len(lines) + 1):
        if place < len(lines) and place not in kept:
            gap.append(place)
            size += len(lines[place]) + 1
            continue
        if size < _SMALLEST_GAP:
            shown.update(gap)
        gap, size = [], 0
    return shown


def lines_in(result: str, lines: Sequence[str]) -> set[int]:
    """Return which of ``lines`` an engine's ``result`` shows, in order; it may hold others."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        places[line.strip()].append(place)
    found: set[int] = set()
    at = 0
    for line in plain(result).split("\n"):
        known = places.get(line.strip())
        if known is None or not line.strip():
            continue
        place = bisect_left(known, at)
        if place < len(known):
            found.add(known[place])
            at = known[place] + 1
    return found


def extract_of_spans(text: str, spans: Sequence[tuple[int, int]], digest: str) -> str | None:
    """Return the kept ``spans`` (start, end) of prose ``text``, in order, with notes between them.

    None where nothing is missing. What is missing is counted in words.
    """
    out: list[str] = []
    missing = at = 0
    for start, end in [*spans, (len(text), len(text))]:
        gap = len(text[at:start].split())
        if gap:
            out.append(notes.omitted(gap, "word"))
            missing += gap
        out.append(text[start:end].strip("\n"))
        at = end
    if not missing:
        return None
    return "\n".join([*[part for part in out if part], notes.marker(missing, digest, "words")])
