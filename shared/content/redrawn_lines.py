"""Lines that a terminal draws several times, as a progress bar: each state but the last is gone.

``10%\\r20%\\r30%\\n`` shows ``30%`` at the end. A harness passes all three on.
"""

from __future__ import annotations

import re

REDRAWN = re.compile(r"(?<!\r)\r++(?!\n)")
"""Carriage returns behind which the line is drawn anew; those of line ends are none. It looks at a
run of them once."""
_LEAST_STATES = 5
_LEAST_SHARE = 0.4
"""The share of a text that must have been drawn over."""


def in_states(text: str) -> str:
    """Return ``text`` with each state of its lines as a line."""
    return REDRAWN.sub("\n", text) if "\r" in text else text


def is_redrawn(text: str) -> bool:
    """Return whether much of ``text`` was drawn over."""
    if text.count("\r") < _LEAST_STATES:
        return False
    over = states = 0
    for line in text.split("\n"):
        last = _last(line)
        over += last
        states += REDRAWN.subn("", line[:last])[1] if last else 0
    return states >= _LEAST_STATES and over >= _LEAST_SHARE * len(text)


def drawn_over(text: str) -> list[bool]:
    """Return for each line of ``in_states(text)`` whether the next one was drawn over it."""
    found: list[bool] = []
    *ended, rest = text.split("\n")
    for line in [*(line.rstrip("\r") for line in ended), rest]:
        states = REDRAWN.split(line)
        shown = next((n for n in range(len(states) - 1, -1, -1) if states[n].strip()), 0)
        found += [n != shown for n in range(len(states))]
    return found


def _last(line: str) -> int:
    """Return where the state begins that is seen at the end."""
    at = 0
    for found in REDRAWN.finditer(line.rstrip()):
        at = found.end()
    return at
