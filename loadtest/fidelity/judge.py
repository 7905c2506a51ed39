"""Judges one result against its original as a reader would, knowing no engine and no form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from .facts import ANSI, Shown, facts_of, put_in
from .sample import Sample

_NOTE = re.compile(
    r"<<ccr:|hash=[a-f0-9]{12}|^\s*\[?\.\.\.|\(repeated \d+ times\)|\(repeats \d+ lines|more match"
    r"|collapsed|omitted|elided|compressed to|more (?:lines|files|hunks|errors|warnings)"
    r"|^\s*\[\d+\]\s*\{|^\[\d+ files? changed, \+\d+ -\d+ lines?\]$"
)
_LAYOUT = re.compile(r":(?:string|int|float|number|bool)\b|\\n|\[\d+\](?=\{)")
_WORD = re.compile(r"[^\W_]+")
_RENDERED = ("json", "html", "log")
"""Families whose words may stand in another layout, in their order: rows, a page's text."""
_ANY_ORDER = ("json", "table")
"""Families whose columns may come in another order, too."""


class Judged(msgspec.Struct):
    """What became of one sample's facts; ``engine`` is empty where it came back as it was."""

    sample: str
    family: str
    engine: str = ""
    before: int = 0
    after: int = 0
    in_sight: int = 0
    behind: int = 0
    lost: int = 0
    must: int = 0
    hidden: list[str] = msgspec.field(default_factory=list)
    made_up: list[str] = msgspec.field(default_factory=list)
    originals: int = 0
    inexact: int = 0
    unmarked: int = 0


def judge(sample: Sample, result: str, originals: Mapping[str, str], engine: str) -> Judged:
    """Count what of the ``sample`` is in sight in ``result``, behind its markers, and lost.

    ``originals`` are the texts that the markers in ``result`` lead to, by hash.
    """
    found = Judged(sample.name, sample.family, before=len(sample.text), after=len(result))
    if result != sample.text:
        found.engine = engine
    shown, unrolled = Shown(result), Shown(put_in(result))
    behind = [Shown(text) for text in originals.values()]
    for facts in facts_of(sample.text).values():
        for fact in facts:
            if shown.says(fact) or unrolled.says(fact):
                found.in_sight += 1
            elif any(text.says(fact) for text in behind):
                found.behind += 1
            else:
                found.lost += 1
    found.must = len(sample.must)
    found.hidden = [must for must in sample.must if not shown.says(ANSI.sub("", must))]
    if sample.whole and originals:
        found.hidden.append("(nothing of it may go behind a marker)")
    found.made_up = list(_made_up(sample, result))
    found.originals = len(originals)
    found.inexact = sum(1 for text in originals.values() if text not in sample.text)
    found.unmarked = int(found.lost > 0 and not originals)
    return found


def _made_up(sample: Sample, result: str) -> Iterator[str]:
    """Yield the lines of ``result`` that nobody wrote."""
    original = ANSI.sub("", sample.text)
    lines = {line.rstrip() for line in original.split("\n")}
    words = _WORD.findall(original)
    known = frozenset(words)
    at = 0
    for raw in ANSI.sub("", result).split("\n"):
        line = raw.rstrip()
        if not line.strip() or line in lines or _NOTE.search(line) or line.strip() in original:
            continue
        if sample.family in _RENDERED:
            end = _in_order(_WORD.findall(line), words, at)
            if end is None and at:
                end = _in_order(_WORD.findall(line), words, 0)
            if end is not None:
                at = end
                continue
        # A table's types and escaped line ends are the layout's, not the table's.
        said = _WORD.findall(_LAYOUT.sub(" ", line))
        if sample.family in _ANY_ORDER and known.issuperset(said):
            continue
        yield line


def _in_order(some: list[str], words: list[str], start: int) -> int | None:
    """Return where ``words`` have ``some`` in order from ``start``; None where they do not."""
    at = start
    for word in some:
        try:
            at = words.index(word, at) + 1
        except ValueError:
            return None
    return at
