"""Splits prose into sentences, and marks those that must stay: headings, items, tables, code."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

_SENTENCE_END = re.compile(r"(?<=[.!?])([\"')\]]*)\s+(?=[\"'(\[*_`]*[A-Z])")
_NO_END = re.compile(
    r"(?:^|[\s(\[])(?:\d+|[A-Za-z]|e\.g|i\.e|etc|vs|cf|al|approx|resp|incl|Fig|No|Nos|Vol|Ch|Sec|Eq"
    r"|Dr|Mr|Mrs|Ms|St|Jr|Sr|Inc|Ltd|Co|Corp|U\.S|a\.m|p\.m)\.$",
    re.I,
)
"""Full stops that do not end a sentence: numbered headings and items, abbreviations, initials."""
_WHOLE = re.compile(
    # headings, items, tables
    r"\s*(?:#{1,6}\s|[-*+•]\s|\d+[.)]\s|[a-z][.)]\s|\||>|\[[^\]]+\]:|!\[|<)"
    r"|\s{4,}\S|\t"  # code, and the continuation of an item
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
    # Headroom's own list of words whose loss reverses a sentence's meaning (Kompress keeps them).
    r"|(?i:\b(?:not|never|none|cannot|can't|don't|doesn't|didn't|won't|shouldn't|mustn't"
    r"|isn't|aren't|avoid|refuse|prohibited|forbidden|disallow|unless|except|without)\b)"
)
"""Content that a reader cannot guess once it is removed: headroom's must-keep rule for Kompress."""


_KEPT_ABOVE = 0.5
"""The score from which Kompress keeps a word: headroom's own constant."""


class Span(NamedTuple):
    """A sentence or an indivisible part: start, end, and whether it must be kept."""

    start: int
    end: int
    fixed: bool


def sentences(text: str) -> list[Span]:
    """Return the sentences and other parts of ``text`` in order; only blanks lie between them."""
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
    """Return the sentences of one paragraph; one that continues a list item is not split."""
    before = text[:start].rstrip("\n").rsplit("\n", 1)[-1]
    goes_on = (
        bool(before.strip()) and text[start - 1 : start] == "\n" and text[:start][-2:] != "\n\n"
    )
    found = []
    at = start
    for stop in _SENTENCE_END.finditer(text, start, end):
        if _NO_END.search(text[max(start, stop.start() - 12) : stop.start()]):
            continue
        found.append(_span(text, at, stop.end(1), goes_on))
        at = stop.end()
    found.append(_span(text, at, end, goes_on))
    return found


def _span(text: str, start: int, end: int, goes_on: bool) -> Span:
    return Span(start, end, goes_on or _FRAGILE.search(text[start:end]) is not None)


def joined(spans: list[Span], text: str) -> list[tuple[int, int]]:
    """Return the start and end of each span; spans with only blanks between them are joined."""
    out: list[tuple[int, int]] = []
    for span in spans:
        if out and not text[out[-1][1] : span.start].strip():
            out[-1] = (out[-1][0], span.end)
        else:
            out.append((span.start, span.end))
    return out


def best_sentences(
    text: str, scores: Sequence[float], target_ratio: float | None
) -> list[tuple[int, int]]:
    """Return the start and end of each part of ``text`` to keep, chosen by its words' ``scores``.

    A word without a score is kept. The number of words kept is that of scores above a half, or
    ``target_ratio`` of all words; whole sentences are kept, those with the best mean first.
    """
    words = [found.start() for found in re.finditer(r"\S+", text)]
    known = [*scores, *[1.0] * (len(words) - len(scores))][: len(words)]
    spans = sentences(text)
    loose: list[tuple[float, int, int]] = []
    wanted = 0.0
    for number, span in enumerate(spans):
        here = known[bisect_left(words, span.start) : bisect_left(words, span.end)]
        if not span.fixed and here:
            loose.append((sum(here) / len(here), number, len(here)))
            above = sum(1 for score in here if score > _KEPT_ABOVE)
            wanted += above if target_ratio is None else target_ratio * len(here)
    kept = {number for number, span in enumerate(spans) if span.fixed}
    for _, number, count in sorted(loose, key=lambda found: (-found[0], found[1])):
        if wanted <= 0:
            break
        kept.add(number)
        wanted -= count
    return joined([spans[number] for number in sorted(kept)], text)
