"""What a search found: entries of a log, or lines of a file with those around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ENTRIES = 0.15
"""The share of matches that are entries of a log, from which on it was a log that was searched."""
_ENTRY = re.compile(
    r"(?:\S*?[:-])?(?:\d+[:-])?\W{0,2}(?:\d{4}-\d\d-\d\d[T ]\d\d:|[A-Z][a-z]{2} [ \d]\d \d"
    r"|\d\d:\d\d:\d|(?:\d{1,3}\.){3}\d{1,3} \S+ \S+ \[\d)"
    r"|(?:\S*?[:-])?\d+[:-]\W{0,2}(?:\d{4}-\d\d-\d\d|\d\d:\d\d)"
)
"""What an entry begins with, behind a file's name and a line's number, if any."""
_OBJECT = re.compile(
    r"(?:[^\s:{]*+:|[^\s:{]*-)?\d+[:-]\{.{0,200}?\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*\}\Z"
)
"""A whole object on one line that has a date and a time."""
_AROUND = 0.1
"""The share of lines around matches from which on a search was made to read them."""
_BESIDE = re.compile(r"--$|(?:[^\s:]+?-)?\d+-")
"""What parts groups of matches, and a line beside a match, as ``grep -n -C`` prints it."""
_FOUND = re.compile(r"[^\s:]*:?\d+:")


def are_entries(lines: Sequence[str]) -> bool:
    """Return whether a log was searched: its matches, not the lines around them, are entries."""
    entries = sum(1 for line in lines if _ENTRY.match(line) or _OBJECT.match(line))
    return entries > _ENTRIES * len(lines)


def shows_code_around(lines: Sequence[str]) -> bool:
    """Return whether lines around the matches were asked for, and are none of a log."""
    beside = sum(1 for line in lines if _BESIDE.match(line) and not _FOUND.match(line))
    return beside > _AROUND * len(lines) and not are_entries(lines)
