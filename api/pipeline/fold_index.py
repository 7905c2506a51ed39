"""The lines that a conversation shows, and where: finds what a new text repeats.

Matching goes by whole lines without their printed line numbers. A line of the new text that is
not trivial is looked up (a seed); the newest of its places are extended in both directions, and
the longest run is folded if it pays. The cost is linear in the text's length.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from .fold import Folded, Numbering, Reference, Run, Source, head_lines, split_numbers, word

_MAX_LINES = 200_000
_MAX_CHARS = 16 * 1024 * 1024
_LEAST_SAVED = 160
"""Characters. Below that a reader's effort to follow a reference is not repaid."""
_PLACES = 8
"""Places of a seed that are tried, the newest first."""
_PLACES_OF_A_SOURCE = 2
"""Places kept of one line in one source: runs are found by their rarer lines and extended."""
_SHORTEST_REFERENCE = 90
"""Characters; a run that does not save enough against it is not put into words."""
_NOTE = re.compile(r"<<ccr:|hash=[0-9a-f]{12}|; omitted here\]")
"""A line with this may be a marker or a reference of ours, which is no content to point at."""


class _Text(NamedTuple):
    """A text in lines, for comparison.

    ``keys`` are the lines without numbers, None where no literal line stands; ``origin`` maps
    an index to the line's number before folding, from 1; ``head`` counts the lines of a
    harness's head, ``total`` all lines before folding.
    """

    keys: list[str | None]
    numbers: list[int] | None
    numbering: Numbering | None
    origin: list[int] | range
    total: int
    chars: int
    head: int


class _Found(NamedTuple):
    """Own lines ``first`` to ``end`` (exclusive) equal those of source ``at`` from ``place`` on."""

    chars: int
    same: bool
    at: int
    place: int
    first: int
    end: int


class Mark(NamedTuple):
    """A state of an index: how many sources it had ever been given, and how many it had dropped."""

    added: int
    dropped: int


class FoldIndex:
    """What one conversation shows, in its order. Bounded; the oldest sources are dropped.

    The state is a function of the sources added, in order, and of the limits. Limits:
    ``max_lines`` and ``max_chars`` of all sources together; a text above them on its own is not
    indexed. ``least_saved`` is the number of characters from which on a run is folded.
    ``compared`` counts the pairs of lines compared so far.
    """

    def __init__(
        self,
        max_lines: int = _MAX_LINES,
        max_chars: int = _MAX_CHARS,
        least_saved: int = _LEAST_SAVED,
    ) -> None:
        self._max_lines = max_lines
        self._max_chars = max_chars
        self._least_saved = max(least_saved, 1)
        self._places: dict[str, int | list[int]] = {}
        self._sources: list[Source] = []
        self._texts: list[_Text] = []
        self._starts: list[int] = []
        """Each source's first position; a position is a line's index counted over all sources."""
        self._holders: dict[tuple[str, str], list[int]] = {}
        """Positions' starts by call and kind: a name that is used again means the newest."""
        self._next = 0
        self._lines = 0
        self._chars = 0
        self._dropped = 0
        self.compared = 0

    @property
    def lines(self) -> int:
        """Lines held."""
        return self._lines

    @property
    def chars(self) -> int:
        """Characters held."""
        return self._chars

    @property
    def cost(self) -> int:
        """Estimated bytes of memory: the lines' text, objects and places."""
        return self._chars + 190 * self._lines

    def add(self, source: Source, shown: str | Folded) -> None:
        """Add what the model sees of a source, after all that stands before it.

        A text that was folded is given as its :class:`Folded`: only its literal lines can be
        referred to, by their numbers in the original.
        """
        text = _visible(shown)
        if not source.call or not text.keys:
            return
        if len(text.keys) > self._max_lines or text.chars > self._max_chars:
            return
        start = self._next
        self._next = start + len(text.keys)
        self._sources.append(source)
        self._texts.append(text)
        self._starts.append(start)
        self._holders.setdefault((source.call, source.kind), []).append(start)
        self._lines += len(text.keys)
        self._chars += text.chars
        self._index(text.keys, start)
        drop = 0
        lines, chars = self._lines, self._chars
        while lines > self._max_lines or chars > self._max_chars:
            lines -= len(self._texts[drop].keys)
            chars -= self._texts[drop].chars
            drop += 1
        for _ in range(drop):
            self._drop(0)
        self._dropped += drop

    def _index(self, keys: list[str | None], start: int) -> None:
        places = self._places
        for position, key in enumerate(keys, start):
            if key is None or _trivial(key):
                continue
            known = places.get(key)
            if known is None:
                places[key] = position
            elif isinstance(known, int):
                places[key] = [known, position]
            elif len(known) < _PLACES_OF_A_SOURCE or known[-_PLACES_OF_A_SOURCE] < start:
                known.append(position)

    def mark(self) -> Mark:
        """The present state, for :meth:`rollback`."""
        return Mark(self._dropped + len(self._sources), self._dropped)

    def rollback(self, mark: Mark) -> bool:
        """Go back to a state, at a cost by what was added since.

        False, and nothing changed, if sources of that state have been dropped since: the index
        has to be built anew then.
        """
        keep = mark.added - mark.dropped
        if mark.dropped != self._dropped or keep > len(self._sources):
            return False
        while len(self._sources) > keep:
            self._drop(-1)
        last = self._texts[-1].keys if self._texts else []
        self._next = self._starts[-1] + len(last) if self._texts else 0
        return True

    def _drop(self, at: int) -> None:
        """Forget the oldest (0) or the newest (-1) source."""
        source, text, start = self._sources.pop(at), self._texts.pop(at), self._starts.pop(at)
        held = self._holders[source.call, source.kind]
        held.pop(at)
        if not held:
            del self._holders[source.call, source.kind]
        self._lines -= len(text.keys)
        self._chars -= text.chars
        end = start + len(text.keys)
        for key in text.keys:
            known = self._places.get(key) if key is not None else None
            if key is None or known is None:
                continue
            if isinstance(known, int):
                if start <= known < end:
                    del self._places[key]
                continue
            while known and start <= known[at] < end:
                known.pop(at)
            if len(known) == 1:
                self._places[key] = known[0]
            elif not known:
                del self._places[key]

    def fold(self, text: str, own: str = "") -> Folded | None:
        """``text`` with references for what the sources show, None where nothing pays.

        ``own`` is the id of the call whose output the text is.
        """
        here = _read(text)
        lines = text.split("\n")
        ends = list(accumulate((len(line) + 1 for line in lines), initial=0))
        out: list[str] = []
        references: list[Reference] = []
        i = floor = here.head
        done = 0
        total = here.total
        while i < total:
            key = here.keys[i]
            known = self._places.get(key) if key is not None else None
            if known is None:
                i += 1
                continue
            best, reached = self._longest(here, ends, i, floor, known)
            i = reached
            if best is None:
                continue
            at = len(out) + best.first - done
            reference, line = self._refer(here, best, at, references, own)
            if best.chars - len(line) < self._least_saved:
                continue
            out.extend(lines[done : best.first])
            out.append(line)
            references.append(reference)
            i = done = floor = best.end
        if not references:
            return None
        out.extend(lines[done:])
        folded = "\n".join(out)
        return Folded(folded, tuple(references), len(text) - len(folded))

    def _longest(
        self, here: _Text, ends: list[int], i: int, floor: int, known: int | list[int]
    ) -> tuple[_Found | None, int]:
        """The longest run through own line ``i`` that may pay, and the first line beyond all runs.

        The longest counts in characters; equal ones rank by equality of numbers, then nearness.
        """
        best: _Found | None = None
        reached = i + 1
        for position in (known,) if isinstance(known, int) else known[: -_PLACES - 1 : -1]:
            at = bisect_right(self._starts, position) - 1
            source = self._sources[at]
            if self._holders[source.call, source.kind][-1] != self._starts[at]:
                continue
            found = self._extend(here, ends, i, floor, at, position - self._starts[at])
            if found is None:
                continue
            reached = max(reached, found.end)
            if best is None or found[:4] > best[:4]:
                best = found
        if best is not None and best.chars < self._least_saved + _SHORTEST_REFERENCE:
            best = None
        return best, reached

    def _extend(
        self, here: _Text, ends: list[int], i: int, floor: int, at: int, place: int
    ) -> _Found | None:
        """The run through own line ``i`` and line ``place`` of source ``at``.

        Its line numbers are all equal (or absent), or consecutive on the side or sides that
        print any, so that the inverse is exact.
        """
        there = self._texts[at]
        own, other = here.keys, there.keys
        n = m = 0
        same = True
        if here.numbers is not None or there.numbers is not None:
            n = here.numbers[i] if here.numbers else 0
            m = there.numbers[place] if there.numbers else 0
            same = n == m and (not n or here.numbering == there.numbering)
        numbered = here.numbers is not None or there.numbers is not None
        forward, back = 1, 0
        most = min(here.total - i, len(other) - place)
        least = min(i - floor, place)
        while forward < most and own[i + forward] == other[place + forward]:
            if numbered and not _in_step(here, there, i, place, forward, n, m, same):
                break
            forward += 1
        while back < least and own[i - back - 1] == other[place - back - 1]:
            if numbered and not _in_step(here, there, i, place, -back - 1, n, m, same):
                break
            back += 1
        self.compared += forward + back + 1
        first, end = i - back, i + forward
        return _Found(ends[end] - ends[first] - 1, same, at, place - back, first, end)

    def _refer(
        self, here: _Text, found: _Found, line: int, before: list[Reference], own: str
    ) -> tuple[Reference, str]:
        """The reference that stands at ``line`` of the folded text, and its words."""
        source, there = self._sources[found.at], self._texts[found.at]
        number = here.numbers[found.first] if here.numbers else 0
        source_number = there.numbers[found.place] if there.numbers else 0
        count = found.end - found.first
        reference = Reference(
            line=line,
            first=found.first + 1,
            count=count,
            source=source,
            source_first=there.origin[found.place],
            strip=there.numbering if source_number and not found.same else None,
            numbering=here.numbering if number and not found.same else None,
            number=number if not found.same else 0,
        )
        if found.same and number and not _consecutive(here, found.first, count):
            number = source_number = 0
        run = Run(
            lines=[key for key in here.keys[found.first : found.end] if key is not None],
            first=reference.first - here.head,
            total=here.total - here.head,
            source=source,
            source_first=reference.source_first - there.head,
            source_total=there.total - there.head,
            chars=found.chars,
            number=number,
            source_number=source_number,
        )
        known = any(r.source == source for r in before)
        return reference, word(run, known, own)


def _read(text: str) -> _Text:
    """Split a text into lines; the empty string after a last newline is no line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    contents, numbers, numbering = split_numbers(lines, text)
    keys: list[str | None] = list(contents)
    origin = range(1, len(lines) + 1)
    head = head_lines(text)
    return _Text(keys, numbers, numbering, origin, len(lines), len(text), head)


def _visible(shown: str | Folded) -> _Text:
    """A source's lines, without those that are no content: markers and references."""
    text = shown if isinstance(shown, str) else shown.text
    read = _read(text)
    keys = read.keys
    keys[: read.head] = [None] * read.head
    if _NOTE.search(text):
        for i, key in enumerate(keys):
            if key is not None and _NOTE.search(key):
                keys[i] = None
    if isinstance(shown, str):
        return read
    origin: list[int] = []
    skipped = 0
    for reference in shown.references:
        origin.extend(range(len(origin) + 1 + skipped, reference.line + 2 + skipped))
        keys[reference.line] = None
        skipped += reference.count - 1
    origin.extend(range(len(origin) + 1 + skipped, len(keys) + 1 + skipped))
    return read._replace(origin=origin, total=len(keys) + skipped)


def _in_step(
    here: _Text, there: _Text, i: int, place: int, k: int, n: int, m: int, same: bool
) -> bool:
    """Whether the numbers of the lines ``k`` beyond a pair go with those of the pair, n and m."""
    own = here.numbers[i + k] if here.numbers else 0
    other = there.numbers[place + k] if there.numbers else 0
    if same:
        return own == other and (not own or here.numbering == there.numbering)
    in_step = own == n + k and own > 0 if n else own == 0
    return in_step and (other == m + k and other > 0 if m else other == 0)


def _consecutive(text: _Text, first: int, count: int) -> bool:
    """Whether the lines carry consecutive numbers, so that first and last tell all."""
    if not text.numbers:
        return False
    number = text.numbers[first]
    return text.numbers[first : first + count] == list(range(number, number + count))


def _trivial(line: str) -> bool:
    """Whether a line is too common to look a run up by: blank, a bracket, a rule."""
    content = line.strip()
    return len(content) < 4 or content == content[0] * len(content)
