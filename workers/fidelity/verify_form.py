"""The check of every result, whatever engine made it: reversible, extract, rendering, or none.

It sees an original and a result and replays the one against the other; it knows no engine. Its
time is linear in the two texts.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from shared.content import in_states

from . import omission_notes as notes

ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_TAG = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[^\W_]+")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nor|neither|cannot|without|unless|except|isn|aren|wasn|don|doesn|didn|"
    r"won|can|shouldn|mustn|couldn|wouldn|hasn|haven)\b",
    re.I,
)


class Verdict(NamedTuple):
    """What a result is to its original; ``unfaithful`` with a reason and the line it failed at."""

    kind: Literal["reversible", "extract", "rendering", "unfaithful"]
    reason: str = ""
    line: str = ""

    @property
    def passes(self) -> bool:
        """Return whether a model may see the result."""
        return self.kind != "unfaithful"


def plain(text: str) -> str:
    """Return ``text`` without colour codes and without blanks at its lines' ends.

    Each state of a line that was drawn several times is a line.
    """
    if "\x1b" in text:
        text = ANSI.sub("", text)
    text = in_states(text)
    if " \n" in text or "\t\n" in text or text[-1:] in " \t":
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    return text


def check(
    original: str,
    result: str,
    *,
    digest: str = "",
    inverse: Callable[[str], str] | None = None,
    rendered: Literal["", "ordered", "free"] = "",
) -> Verdict:
    """Return what ``result`` is to ``original``.

    ``inverse`` turns a reversible result back. ``digest`` is the hash that the one marker of a
    lossy result must carry: it leads to the original that is kept. ``rendered`` says that the
    result may be other than lines of the original: its words in their order (prose), or in any
    (a page, a table).
    """
    if inverse is not None:
        return _reversed(original, result, inverse)
    hashes = notes.HASH.findall(result)
    if hashes != [digest]:
        return Verdict("unfaithful", "not one marker", " ".join(hashes)[:100] or "no marker")
    if notes.holds_notes(original):
        return Verdict("unfaithful", "the original holds notes")
    found = _replayed(original, result)
    if found.passes or not rendered:
        return found
    return _rendering(original, result, rendered == "ordered")


def _reversed(original: str, result: str, inverse: Callable[[str], str]) -> Verdict:
    if len(notes.HASH.findall(result)) > len(notes.HASH.findall(original)):
        return Verdict("unfaithful", "a marker in a reversible form")
    try:
        back = inverse(result)
    except (ValueError, IndexError) as error:
        return Verdict("unfaithful", "no way back", str(error)[:100])
    wanted = plain(original)
    if back in (original, wanted):
        return Verdict("reversible")
    for was, now in zip(wanted.split("\n"), back.split("\n"), strict=False):
        if was != now:
            return Verdict("unfaithful", "another original", now[:100])
    return Verdict("unfaithful", "another original", "at its end")


def _replayed(original: str, result: str) -> Verdict:
    """Walk the original by the result: each line stands there, and each note counts what is not."""
    lines = plain(original).split("\n")
    shown = result.split("\n")
    at = missing = counted = 0
    end = notes.MARKER.fullmatch(shown[-1])
    if end is None:
        return Verdict("unfaithful", "no count in the marker", shown[-1][:100])
    if end[2] == "words":
        return _replayed_by_words(original, shown[:-1], int(end[1]))
    words: frozenset[str] | None = None
    for line in shown[:-1]:
        gap = notes.OMITTED.fullmatch(line)
        if gap is not None:
            at += int(gap[1])
            missing += int(gap[1])
            continue
        kind = notes.KIND.fullmatch(line)
        if kind is not None:
            counted += int(kind[1])
            words = words or frozenset(_WORD.findall(original))
            strange = [w for w in _WORD.findall(kind[2]) if w not in words]
            if strange:
                return Verdict("unfaithful", "a word of its own", strange[0][:100])
            continue
        if at >= len(lines) or lines[at] != line.rstrip(" \t"):
            return Verdict("unfaithful", "not a line of the original here", line[:100])
        at += 1
    if at != len(lines):
        return Verdict("unfaithful", "lines missing without a note", f"{len(lines) - at} lines")
    if missing != int(end[1]) or counted > missing:
        return Verdict("unfaithful", "a wrong count", shown[-1][:100])
    if missing >= len(lines):
        return Verdict("unfaithful", "nothing in sight")
    return Verdict("extract")


def _replayed_by_words(original: str, shown: list[str], counted: int) -> Verdict:
    """Walk prose by its words: those in sight stand there, and each note counts what is not."""
    words = original.split()
    at = missing = 0
    for line in shown:
        gap = notes.WORDS.fullmatch(line)
        if gap is not None:
            at += int(gap[1])
            missing += int(gap[1])
            continue
        here = line.split()
        if words[at : at + len(here)] != here:
            return Verdict("unfaithful", "not words of the original here", line[:100])
        at += len(here)
    if at != len(words):
        return Verdict("unfaithful", "words missing without a note", f"{len(words) - at} words")
    if missing != counted:
        return Verdict("unfaithful", "a wrong count", f"{missing} for {counted}")
    if missing >= len(words):
        return Verdict("unfaithful", "nothing in sight")
    return Verdict("extract")


def _rendering(original: str, result: str, ordered: bool) -> Verdict:
    shown = result.split("\n")
    if not (notes.RENDERED.fullmatch(shown[-1]) or notes.MARKER.fullmatch(shown[-1])):
        return Verdict("unfaithful", "no marker at the end", shown[-1][:100])
    body = [x for x in shown[:-1] if not (notes.OMITTED.fullmatch(x) or notes.FORMAT.fullmatch(x))]
    words: Iterator[str] | frozenset[str] = (m[0] for m in _WORD.finditer(original))
    if not ordered:
        words = frozenset(_WORD.findall(original))
        if "</" in original:  # the parts of a word that tags part are one word to a reader
            words |= frozenset(_WORD.findall(html.unescape(_TAG.sub("", original))))
        if "&" in original:
            words |= frozenset(_WORD.findall(html.unescape(original)))
    seen = False
    for line in body:
        kind = notes.KIND.fullmatch(line)
        for word in _WORD.findall(_without_size(kind[2] if kind else line)):
            seen = True
            if word not in words:  # of an iterator, this goes on from the word before
                return Verdict("unfaithful", "a word that is not there", f"{word}: {line}"[:100])
    if not seen:
        return Verdict("unfaithful", "nothing in sight")
    if ordered:
        was = Counter(w.lower() for w in _NEGATION.findall(original))
        now = Counter(w.lower() for w in _NEGATION.findall("\n".join(body)))
        if was - now:
            return Verdict("unfaithful", "a negation is gone", next(iter(was - now)))
    return Verdict("rendering")


def _without_size(line: str) -> str:
    """Return the line without the count of a table's rows, ``[145]{``."""
    return re.sub(r"\[\d+\](?=\{)", "", line)
