"""Progress bars as they were first and at last, with a note of the states in between."""

from __future__ import annotations

from shared.content import drawn_over

from .extract import extract
from .line_kinds import Kinds
from .must_see import is_bad
from .verify_form import ANSI, plain


def last_states(body: str, digest: str) -> str | None:
    """Return ``body`` without the states that were drawn over; None where there are none.

    The first state of each line stays, and states that tell of a failure.
    """
    over = drawn_over(ANSI.sub("", body))
    lines = plain(body).split("\n")
    kept: set[int] = set()
    begun = False
    for place, line in enumerate(lines):
        if not over[place]:
            begun = False
        elif not line.strip() or (begun and not is_bad(line)):
            continue
        else:
            begun = True
        kept.add(place)
    return extract(lines, kept, digest, kinds=Kinds(lines))
