"""Free text without a model: headroom's TextCrusher, kept from dropping what is fragile."""

from __future__ import annotations

import re

from . import environment  # noqa: F401 - before headroom
from headroom.transforms.text_crusher import TextCrusher

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_UNDERLINE = re.compile(r"\s*(?:=+|-{3,}|~{3,})\s*")
_FRAGILE = re.compile(
    r"^\s*#{1,6}\s"  # a heading
    r"|(?<![\w.])\d[\d.,:]*(?!\w)"  # a number, a time, a version
    r"|\b0x[0-9a-fA-F]+"
    r"|\b\w+_\w+|\b[A-Z][a-z]+[A-Z]\w*|\b[a-z]\w*\.[a-z_]\w*\("  # an identifier
    r"|(?<!\w)--?[a-z][\w-]+"  # a flag
    # Headroom's own list of words whose loss turns a sentence round (Kompress keeps them).
    r"|(?i:\b(?:not|never|none|cannot|can't|don't|doesn't|didn't|won't|shouldn't|mustn't"
    r"|isn't|aren't|avoid|refuse|prohibited|forbidden|disallow|unless|except|without)\b)"
)
"""What a reader cannot guess when it is gone, after headroom's must-keep rule for Kompress."""


class TextCrusherEngine:
    """Headroom's native extractive crusher: whole sentences, no model.

    On its own it lost a quarter to four tenths of planted facts (``loadtest/needles.py``), so
    sentences with headings, numbers, identifiers or negations stay, and it chooses among the
    rest.
    """

    name = "text_crusher"
    marks = False

    def __init__(self) -> None:
        self._crusher = TextCrusher()

    def compress(
        self, text: str, context: str, target_ratio: float | None, original: str | None = None
    ) -> str:
        """Return the kept sentences of ``text`` in their order, each in its line."""
        lines = [_SENTENCE_END.split(line) for line in text.split("\n")]
        fragile = _fragile(lines)
        rest = [
            " ".join(s for place, s in enumerate(line) if (number, place) not in fragile)
            for number, line in enumerate(lines)
        ]
        chosen: str = self._crusher.compress("\n".join(rest), context, target_ratio).compressed
        waiting = [segment.strip() for segment in chosen.split("\n") if segment.strip()]
        waiting.reverse()
        kept = []
        for number, line in enumerate(lines):
            found = []
            for place, sentence in enumerate(line):
                if (number, place) in fragile:
                    found.append(sentence)
                    continue
                start = 0
                while waiting and (at := sentence.find(waiting[-1], start)) >= 0:
                    start = at + len(waiting[-1])
                    found.append(waiting.pop())
            if found:
                kept.append(" ".join(found))
        return text if waiting else "\n".join(kept)


def _fragile(lines: list[list[str]]) -> set[tuple[int, int]]:
    """Return line and place of the sentences that stay: fragile ones, and underlined headings."""
    found = set()
    for number, line in enumerate(lines):
        found |= {(number, place) for place, s in enumerate(line) if _FRAGILE.search(s)}
        if number and _UNDERLINE.fullmatch(line[0]) and lines[number - 1][0].strip():
            found.add((number, 0))
            found |= {(number - 1, place) for place in range(len(lines[number - 1]))}
    return found
