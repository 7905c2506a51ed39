"""Free text without a model: headroom's TextCrusher, kept from dropping what is fragile."""

from __future__ import annotations

import re
from typing import NamedTuple

from . import environment  # noqa: F401 - before headroom
from headroom.transforms.text_crusher import TextCrusher

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[*_`]*[A-Z])")
_NO_END = re.compile(
    r"(?:^|[\s(\[])(?:\d+|[A-Za-z]|e\.g|i\.e|etc|vs|cf|al|approx|resp|incl|Fig|No|Nos|Vol|Ch|Sec|Eq"
    r"|Dr|Mr|Mrs|Ms|St|Jr|Sr|Inc|Ltd|Co|Corp|U\.S|a\.m|p\.m)\.$",
    re.I,
)
"""Full stops that end no sentence: numbers of headings and items, abbreviations, initials."""
_WHOLE = re.compile(
    # headings, items, tables
    r"\s*(?:#{1,6}\s|[-*+•]\s|\d+[.)]\s|[a-z][.)]\s|\||>|\[[^\]]+\]:|!\[|<)"
    r"|\s{4,}\S|\t"  # code, and what goes on an item
    r"|\s*(?:=+|-{3,}|~{3,}|\*{3,}|_{3,})\s*$"  # underlines, rules
    r"|[A-Z][\w ]{0,40}:\s*$"  # a lead-in
)
_FENCE = re.compile(r"\s*(?:```|~~~)")
_UNDERLINE = re.compile(r"\s*(?:=+|-{3,}|~{3,})\s*")
_FRAGILE = re.compile(
    r"^\s*#{1,6}\s"  # a heading
    r"|(?<![\w.])\d[\d.,:]*(?!\w)"  # a number, a time, a version
    r"|\b0x[0-9a-fA-F]+"
    r"|\b\w+_\w+|\b[A-Z][a-z]+[A-Z]\w*|\b[a-z]\w*\.[a-z_]\w*\("  # an identifier
    r"|`[^`]+`|(?<!\w)/\w[\w./-]+"  # code, a path
    r"|(?<!\w)--?[a-z][\w-]+"  # a flag
    # Headroom's own list of words whose loss turns a sentence round (Kompress keeps them).
    r"|(?i:\b(?:not|never|none|cannot|can't|don't|doesn't|didn't|won't|shouldn't|mustn't"
    r"|isn't|aren't|avoid|refuse|prohibited|forbidden|disallow|unless|except|without)\b)"
)
"""What a reader cannot guess when it is gone, after headroom's must-keep rule for Kompress."""


class Span(NamedTuple):
    """A sentence, or what is never cut: where it starts and ends, and whether it must stay."""

    start: int
    end: int
    fixed: bool


class TextCrusherEngine:
    """Headroom's native extractive crusher: whole sentences of prose, no model.

    On its own it lost a quarter to four tenths of planted facts (``loadtest/needles.py``), so
    sentences with numbers, identifiers or negations stay, headings, list items, tables and code
    stay, and it chooses among the rest.
    """

    name = "text_crusher"
    marks = False

    def __init__(self) -> None:
        self._crusher = TextCrusher()

    def compress(
        self, text: str, context: str, target_ratio: float | None, original: str | None = None
    ) -> str:
        """Return the kept sentences of ``text`` in their order; those in a row stay together."""
        spans = self.kept(text, context, target_ratio)
        return "\n".join(text[start:end].strip("\n") for start, end in spans)

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
        return _joined([spans[n] for n in sorted(kept)], text)


def sentences(text: str) -> list[Span]:
    """Return the sentences of ``text`` and what is none, in order; blanks lie between them."""
    found: list[Span] = []
    paragraph: tuple[int, int] | None = None
    at, fenced = 0, False
    lines = text.split("\n")
    for number, line in enumerate(lines):
        end = at + len(line)
        fence = bool(_FENCE.match(line))
        heads = number + 1 < len(lines) and _UNDERLINE.fullmatch(lines[number + 1])
        if line.strip() and not (fenced or fence or heads or _WHOLE.match(line)):
            paragraph = (paragraph[0] if paragraph else at, end)
        else:
            if paragraph:
                found += _in_paragraph(text, *paragraph)
                paragraph = None
            if line.strip():
                found.append(Span(at, end, True))
        fenced = fenced != fence
        at = end + 1
    if paragraph:
        found += _in_paragraph(text, *paragraph)
    return found


def _in_paragraph(text: str, start: int, end: int) -> list[Span]:
    """Return the sentences of one paragraph; one that goes on a list's item stays whole."""
    before = text[:start].rstrip("\n").rsplit("\n", 1)[-1]
    goes_on = (
        bool(before.strip()) and text[start - 1 : start] == "\n" and text[:start][-2:] != "\n\n"
    )
    found = []
    at = start
    for stop in _SENTENCE_END.finditer(text, start, end):
        if _NO_END.search(text[max(start, stop.start() - 12) : stop.start()]):
            continue
        found.append(_span(text, at, stop.start(), goes_on))
        at = stop.end()
    found.append(_span(text, at, end, goes_on))
    return found


def _span(text: str, start: int, end: int, goes_on: bool) -> Span:
    return Span(start, end, goes_on or _FRAGILE.search(text[start:end]) is not None)


def _joined(spans: list[Span], text: str) -> list[tuple[int, int]]:
    """Return the spans, those with only blanks between them as one."""
    out: list[tuple[int, int]] = []
    for span in spans:
        if out and not text[out[-1][1] : span.start].strip():
            out[-1] = (out[-1][0], span.end)
        else:
            out.append((span.start, span.end))
    return out
