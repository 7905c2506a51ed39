"""The lines that the farm writes into a text: notes of what is not there, and the marker.

A note is one line, ``[... 37 lines omitted ...]``; a marker is the last one of what it marks. A
text that holds such a line of its own is not shortened: nobody could tell the two apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import groupby

OMITTED = re.compile(r"\[\.\.\. (\d+) (?:lines?|rows?) omitted \.\.\.\]")
WORDS = re.compile(r"\[\.\.\. (\d+) words? omitted \.\.\.\]")
KIND = re.compile(r"\[\.\.\. (?:all )?(\d+) of the omitted (?:lines|rows) are like: (.*) \.\.\.\]")
BEGIN = re.compile(
    r"\[\.\.\. each of the next (\d+) lines begins with \"(.*)\", omitted in them \.\.\.\]"
)
REPEATED = re.compile(r"\[\.\.\. (\d+) more lines? equal to the one above omitted \.\.\.\]")
PATHS = "[... each path is said once, above its lines, and omitted in them ...]"
FORMAT = re.compile(r"\[\.\.\. JSON in fewer characters, nothing lost: (.*) omitted \.\.\.\]")
ANY = re.compile(r"\[\.\.\. .* \.\.\.\]|.*(?:<<ccr:|\bhash=)[a-f0-9]{12}")
MARKER = re.compile(
    r"\[(\d+) (lines|rows|words) omitted in all\. Retrieve original: hash=([a-f0-9]{24})\]"
)
RENDERED = re.compile(r"\[[A-Z][\w ]+\. Retrieve original: hash=([a-f0-9]{24})\]")
HASH = re.compile(r"(?:<<ccr:|hash=)([a-f0-9]{12,24})")


def omitted(count: int, what: str = "line") -> str:
    """Return the note that stands where ``count`` lines are missing."""
    return f"[... {count} {what}{'' if count == 1 else 's'} omitted ...]"


def shown_of(lines: Sequence[str], shown: Collection[int], what: str = "line") -> list[str]:
    """Return the ``shown`` ones of ``lines`` in order, with a note where others are missing."""
    out: list[str] = []
    for is_shown, places in groupby(range(len(lines)), lambda place: place in shown):
        if is_shown:
            out += [lines[place] for place in places]
        else:
            out.append(omitted(len(list(places)), what))
    return out


def like(count: int, kind: str, what: str = "lines", *, all_of: int = 0) -> str:
    """Return the note that ``count`` of the ``all_of`` missing lines are like ``kind``."""
    every = "all " if count == all_of else ""
    return f"[... {every}{count} of the omitted {what} are like: {kind} ...]"


def begin(count: int, prefix: str) -> str:
    """Return the note before ``count`` lines whose common ``prefix`` is said only here."""
    return f'[... each of the next {count} lines begins with "{prefix}", omitted in them ...]'


def repeated(count: int) -> str:
    """Return the note after a line that came ``count`` times more."""
    return f"[... {count} more line{'' if count == 1 else 's'} equal to the one above omitted ...]"


def fewer(what: str) -> str:
    """Return the note above JSON that lacks ``what`` JSON can do without."""
    return f"[... JSON in fewer characters, nothing lost: {what} omitted ...]"


def marker(count: int, digest: str, what: str = "lines") -> str:
    """Return the line that leads to the original of an extract."""
    return f"[{count} {what} omitted in all. Retrieve original: hash={digest}]"


def holds_notes(text: str) -> bool:
    """Return whether a line of ``text`` could be taken for a note or a marker."""
    if not any(sign in text for sign in ("[...", "hash=", "<<ccr:")):
        return False
    return any(ANY.match(line) for line in text.split("\n"))
