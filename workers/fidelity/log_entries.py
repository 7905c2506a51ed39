"""Entries of a log that have several lines: in an extract, none of them stands without its head."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_MOST_LINES = 8
"""Lines of an entry that is shown whole; of a longer one, its head and what was chosen."""
_GOES_ON = re.compile(r"(?:DETAIL|HINT|STATEMENT|CONTEXT|QUERY):  ")
"""What PostgreSQL says more of an entry, in lines that begin as the entry does."""


def with_entries(
    lines: Sequence[str], kept: Collection[int], failed: Collection[int], frames: Collection[int]
) -> set[int]:
    """Return ``kept`` with the entries of which it has a line below the head.

    And with those whose head is among ``failed``. Entries that hold ``frames`` of a stack trace
    stay as they are, but for their heads.
    """
    shown = set(kept)
    head = 0
    for end in range(1, len(lines) + 1):
        if end < len(lines) and _is_below(lines[end], lines[end - 1]):
            continue
        entry = range(head, end)
        head = end
        if len(entry) == 1 or (entry[0] not in failed and shown.isdisjoint(entry[1:])):
            continue
        if len(entry) <= _MOST_LINES and not any(place in frames for place in entry):
            shown.update(entry)
        else:
            shown.add(entry[0])
    return shown


def _is_below(line: str, above: str) -> bool:
    """Return whether a line goes on with the entry of the line above it."""
    if line[:1] in (" ", "\t"):
        return bool(line.strip() and above.strip())
    found = _GOES_ON.search(line)
    return found is not None and found.start() > 0 and above.startswith(line[: found.start()])
