"""``git blame`` with what it says of a commit only at the commit's first line, and back.

Of ``5a28c850 (Ada 2026-11-24 01:45:47 +0000 12) line`` there stays `` 12) line`` below a line of
the same commit, and ``...5a28c850 12) line`` where the commit comes again. The text of the file
itself stays as it is.
"""

from __future__ import annotations

import re

from .lines_as_rows import ROWS
from .reversible import ReversibleForm

_NOTE = (
    "[... git blame: a line without a commit is of the commit above; who and when stand at a"
    " commit's first line and are omitted below ...]"
)
_WHOLE = re.compile(
    r"(\^?[0-9a-f]{7,40})( .{0,120}?\(.{0,80}? \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})( +\d+\).*)"
)
_SHORT = re.compile(r"(?:\.\.\.(\^?[0-9a-f]{7,40}))?( +\d+\).*)")
_ENDS = 2
"""Last lines that stay whole."""


def shortened_blame(text: str) -> ReversibleForm | None:
    """Return the lines of ``git blame`` in fewer characters; None where ``text`` is none."""
    if _WHOLE.match(text) is None:
        return None
    lines = text.split("\n")
    full = [at for at, line in enumerate(lines) if line.strip()]
    end = full[-_ENDS] if len(full) > _ENDS else 0
    out = [_NOTE]
    said: dict[str, str] = {}
    above = ""
    for at, line in enumerate(lines):
        found = _WHOLE.fullmatch(line)
        if found is None:
            above = ""
        elif said.get(found[1]) == found[2] and at < end:
            line = found[3] if found[1] == above else f"...{found[1]}{found[3]}"
            above = found[1]
        else:
            said[found[1]] = found[2]
            above = found[1]
        out.append(line)
    made = "\n".join(out)
    return ReversibleForm(made, _whole, ROWS) if len(made) < len(text) else None


def _whole(text: str) -> str:
    """Return the text that :func:`shortened_blame` shortened.

    Raises:
        ValueError: the text is none of its forms.
    """
    note, *lines = text.split("\n")
    if note != _NOTE:
        raise ValueError("no shortened blame")
    said: dict[str, str] = {}
    above = ""
    out: list[str] = []
    for line in lines:
        found, short = _WHOLE.fullmatch(line), _SHORT.fullmatch(line)
        if short is not None and (short[1] or above) in said:
            above = short[1] or above
            line = above + said[above] + short[2]
        elif found is not None:
            above = found[1]
            said[above] = found[2]
        else:
            above = ""
        out.append(line)
    return "\n".join(out)
