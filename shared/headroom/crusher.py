"""Free text without a model: headroom's TextCrusher, prevented from dropping fragile content."""

from __future__ import annotations

from . import environment  # noqa: F401 - before headroom
from headroom.transforms.text_crusher import TextCrusher

from .sentences import joined, sentences


class TextCrusherEngine:
    """Headroom's native extractive crusher: whole sentences of prose, no model.

    On its own it loses 25 to 40 % of planted facts (``loadtest/needles.py``). So sentences with
    numbers, identifiers or negations are kept, as are headings, list items, tables and code;
    TextCrusher chooses among the rest.
    """

    name = "text_crusher"

    def __init__(self) -> None:
        self._crusher = TextCrusher()

    def kept(self, text: str, context: str, target_ratio: float | None) -> list[tuple[int, int]]:
        """Return where the kept parts of ``text`` start and end, in order."""
        spans = sentences(text)
        loose = [n for n, s in enumerate(spans) if not s.fixed]
        rest = "\n".join(" ".join(text[spans[n].start : spans[n].end].split()) for n in loose)
        chosen: str = self._crusher.compress(rest, context, target_ratio).compressed
        kept = {n for n, s in enumerate(spans) if s.fixed}
        waiting = [part.strip() for part in chosen.split("\n") if part.strip()]
        waiting.reverse()
        for number in loose:
            span = spans[number]
            sentence = " ".join(text[span.start : span.end].split())
            at = 0
            while waiting and (found := sentence.find(waiting[-1], at)) >= 0:
                at = found + len(waiting.pop())
                kept.add(number)
        if waiting:
            return [(0, len(text))]
        return joined([spans[n] for n in sorted(kept)], text)
