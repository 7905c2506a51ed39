"""Which lines are a stack trace: its frames, each with its source line and the marks below it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_FRAME = re.compile(r"\s+(?:File \".*\", line \d+|at (?:async )?[\w.$<>/\[\]]+[ (])")
_MARKS = re.compile(r"\s+[~^]+\s*$")
_LEAST_FRAMES = 2
"""Frames of a trace: one alone is where a line was printed, below it."""


def traced(lines: Sequence[str]) -> set[int]:
    """Return the lines of stack traces with more than one frame."""
    found: set[int] = set()
    own: list[int] = []
    frames = 0
    for at, line in enumerate([*lines, ""]):
        if _FRAME.match(line):
            frames += 1
        elif not (own and _belongs(line, lines[at - 1])):
            if frames >= _LEAST_FRAMES:
                found.update(own)
            own, frames = [], 0
            continue
        own.append(at)
    return found


def with_frames(lines: Sequence[str], shown: Collection[int]) -> set[int]:
    """Return the ``shown`` lines, with the frame of each source line: alone it is anybody's."""
    found = set(shown)
    for at in traced(lines).intersection(shown):
        while not _FRAME.match(lines[at]):
            at -= 1
            found.add(at)
    return found


def _belongs(line: str, above: str) -> bool:
    """Return whether a line is a frame's source, which stands deeper in, or marks below it."""
    if _MARKS.match(line):
        return True
    return bool(line.strip()) and bool(_FRAME.match(above)) and _depth(line) > _depth(above)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())
