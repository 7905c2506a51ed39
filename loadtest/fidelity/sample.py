"""A generated tool result, and what a reader must still see of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

WORDS = (
    "anchor", "basin", "copper", "drift", "ember", "fathom", "grove", "hollow", "inlet", "jetty",
    "kiln", "ledge", "mortar", "nectar", "orchard", "pebble", "quarry", "rudder", "saddle",
    "timber", "umber", "valley", "willow", "yonder",
)  # fmt: skip


class Sample(NamedTuple):
    """One command's output.

    ``family`` is its content kind in the report. ``must`` are strings that have to stay in sight;
    ``whole`` says that nothing of it may go behind a marker (code, configuration, errors).
    """

    name: str
    family: str
    command: str
    text: str
    must: tuple[str, ...] = ()
    whole: bool = False


Maker = Callable[[random.Random, int], Sample]
"""Makes a sample of about so many lines."""


def word(pick: random.Random) -> str:
    """Return one word."""
    return pick.choice(WORDS)


def name(pick: random.Random) -> str:
    """Return an identifier of two words."""
    return f"{word(pick)}_{word(pick)}"


def hexes(pick: random.Random, length: int) -> str:
    """Return ``length`` hexadecimal digits."""
    return f"{pick.getrandbits(4 * length):0{length}x}"


def clock(number: int, *, step: float = 1.7) -> str:
    """Return the time of day of the log's line ``number``."""
    seconds = int(number * step)
    return f"{8 + seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def sentence(pick: random.Random) -> str:
    """Return one sentence of prose, sometimes with a negation or a number."""
    parts = [
        f"The {word(pick)} near the {word(pick)} is repaired by the crew of the {word(pick)}.",
        f"Nobody who has seen the {word(pick)} asks for another {word(pick)}, whatever it costs.",
        f"Do not open the {word(pick)} unless the {word(pick)} is closed.",
        f"It takes {pick.randrange(2, 90)} minutes, e.g. when the {word(pick)} is wet.",
        f"Most of what is written about the {word(pick)} goes back to one old {word(pick)}.",
        f"In the evening, people walk from the {word(pick)} to the {word(pick)} and talk.",
        f"That way the {word(pick)} keeps its shape, and the {word(pick)} looks as it did before.",
    ]
    return pick.choice(parts)


def paragraph(pick: random.Random, sentences: int) -> str:
    """Return so many sentences as one line."""
    return " ".join(sentence(pick) for _ in range(sentences))


def ends(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first and the last line that say something."""
    said = [line for line in lines if line.strip()]
    return (said[0], said[-1])
