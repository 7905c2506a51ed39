"""Finds the files that a text shows, by the lines that clients' tools write above a file's content.

``File: src/a.go``, ``--- src/a.go ---``, ``<path>src/a.go</path>``: each client has its own.
"""

from __future__ import annotations

import re
from itertools import islice

from .kind_by_name import Kind, kind_of_file

_PATH = r"[^\s`\"'<>|*()]*[^\s`\"'<>|*():./\\]\.[A-Za-z]\w{0,11}"
_ABOVE = tuple(
    re.compile(rf"(?m)^{line}")
    for line in (
        r"(?:<file>)?<(?:path|source|file_path|filename)>\s*([^<\n]+?)\s*</",
        r"<(?:file|file_contents?|document|snippet)\b[^>\n]*?\b(?:path|name|src)=[\"']?([^\"'>\n]+)",
        rf"(?:\[?[Ff]ile(?: path|name)?|[Pp]ath|Contents? of): ?[`\"]?({_PATH})[`\"]?"
        r"(?=$|[\s:.,(\]])",
        rf"(?:-{{3,}} +({_PATH}) +-{{3,}}|(?:={{2,}}>?|#{{1,4}}) +`?({_PATH})`?(?: +<?={{2,}})?)"
        r"[ :]*$",
        rf"(?=.*/)({_PATH}):$",
    )
)
_SHOWN = tuple(
    re.compile(line)
    for line in (
        rf"(?m)Here(?:'s|’s| is) (?:the|a) .{{1,60}}? (?:on|of) `?({_PATH})`?(?: starting|:)",
        r"(?m)^\[File: (.+?) \(\d+ lines total\)\]$",
    )
)
"""What stands above a file's content wherever in the text: below what an editor says of an edit."""
_FIRST_LINES = 4
_FIRST_CHARS = 1000
_MOST_FILES = 60


def kinds_of_shown_files(text: str) -> list[Kind | None]:
    """Return the kinds of the files named in ``text``, in order; none where it begins with none."""
    for above in _SHOWN:
        shown = [kind_of_file(match[1]) for match in islice(above.finditer(text), _MOST_FILES)]
        if shown:
            return shown
    first = "\n".join(text[:_FIRST_CHARS].lstrip().split("\n")[:_FIRST_LINES])
    for above in _ABOVE:
        if above.search(first):
            found = above.finditer(text)
            names = (next(filter(None, match.groups()), "") for match in found)
            return [kind_of_file(name) for name in islice(names, _MOST_FILES)]
    return []
