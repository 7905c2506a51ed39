"""Index of the lines of a conversation, to find runs of lines that a new text repeats.

Whole lines are compared, without their printed line numbers. Each line of the new text that is not
trivial is looked up (a seed); the newest of its places are extended in both directions, and the
longest run is folded if it pays. The cost is linear in the text's length.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from .equal_runs import There, run_through
from .layouts import without_layout
from .line_numbers import ADDED, Numbering
from .line_prefixes import view_of
from .lines import NO_LINE, Text, added_by_diff, literal, read, without_notes
from .note_ranges import Scope, scopes_of, uncut
from .reference_wording import Run, word
from .references import Folded, Reference, Source

_MAX_LINES = 200_000
_MAX_CHARS = 16 * 1024 * 1024
_LEAST_SAVED = 160
"""Minimum saving of a reference, in characters: a smaller one does not justify the indirection."""
_PLACES = 8
"""Maximum number of places tried for a seed, the newest first."""
_PLACES_OF_A_SOURCE = 2
"""Maximum number of places kept per line and source: runs are found by their rarer lines."""
_SHORTEST_REFERENCE = 90
"""Minimum length of a reference, in characters, used to skip runs that cannot save enough."""


class _Held(NamedTuple):
    """A source in the index: its lines have the positions from ``start`` on, then one separator.

    A source that prints a file's lines with prefixes is held a second time without the prefixes;
    ``main`` is the start of the first entry.
    """

    source: Source
    start: int
    lines: int
    numbering: Numbering | None
    origin: Sequence[int]
    total: int
    chars: int
    head: int
    main: int


class _Found(NamedTuple):
    """Own lines ``first`` to ``end`` (exclusive) equal those from ``position`` on."""

    chars: int
    same: bool
    position: int
    first: int
    end: int
    held: _Held


class Mark(NamedTuple):
    """A state of an index: the number of sources added, and of sources dropped."""

    added: int
    dropped: int


class FoldIndex:
    """The texts of one conversation, in order. Bounded; the oldest sources are dropped.

    The state depends only on the sources added, in order, and on the limits. ``max_lines`` and
    ``max_chars`` limit all sources together; a single text above them is not indexed.
    ``least_saved`` is the number of characters that a reference must save.
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
        # A position is a line's index counted over all sources ever added; those below
        # ``_base`` are dropped. A source's lines are followed by one None, which equals no line.
        self._base = 0
        self._keys: list[str | None] = []
        self._numbers: list[int] = []
        self._places: dict[str, int | list[int]] = {}
        self._held: list[_Held] = []
        self._starts: list[int] = []
        self._named: dict[tuple[str, str], list[int]] = {}
        self._lines = 0
        self._chars = 0
        self._dropped = 0
        self._last: tuple[str, Text] = ("", read(""))
        self.compared = 0

    @property
    def lines(self) -> int:
        """Number of lines in the index."""
        return self._lines

    @property
    def chars(self) -> int:
        """Number of characters in the index."""
        return self._chars

    @property
    def cost(self) -> int:
        """Estimated bytes of memory: the lines' text, objects and places."""
        return self._chars + 190 * self._lines

    def add(self, source: Source, shown: str | Folded) -> None:
        """Add a source as the model sees it, after all earlier sources.

        A folded text is given as its :class:`Folded`: only its literal lines can be referred to,
        by their numbers in the original.
        """
        text = self._split(shown) if isinstance(shown, str) else literal(shown)
        count = len(text.keys)
        if not source.call or not count or count > self._max_lines or text.chars > self._max_chars:
            return
        start = self._base + len(self._keys)
        self._named.setdefault((source.call, source.kind), []).append(start)
        keys = without_notes(text, shown if isinstance(shown, str) else shown.text)
        self._hold(source, start, text._replace(keys=keys))
        if isinstance(shown, str) and 2 * text.chars <= self._max_chars:
            self._hold_view(source, start, text._replace(keys=keys), shown)
        while self._lines > self._max_lines or self._chars > self._max_chars:
            self._drop_oldest()

    def _hold_view(self, source: Source, main: int, text: Text, shown: str) -> None:
        """Add the lines of a file that a source prints with prefixes, if it does."""
        count = len(text.keys)
        view = view_of(shown.split("\n"), text.head) if 2 * count <= self._max_lines else None
        if view is not None:
            # Lines of the source that may not be referred to may not be referred to here either.
            shown_keys = zip(view.keys[:count], text.keys, strict=True)
            keys = [own if key is not None else None for own, key in shown_keys]
            numbering = Numbering(0, "", view.name)
            numbers = view.numbers[:count]
            self._hold(source, main, text._replace(keys=keys, numbers=numbers, numbering=numbering))

    def _hold(self, source: Source, main: int, text: Text) -> None:
        start = self._base + len(self._keys)
        self._keys += text.keys
        self._keys.append(None)
        self._numbers += text.numbers
        self._numbers.append(0)
        count = len(text.keys)
        self._held.append(_Held(source, start, count, *text[2:], main))
        self._starts.append(start)
        self._lines += count
        self._chars += text.chars
        self._index(text.keys, start)

    def _split(self, text: str) -> Text:
        """Return the text's lines; caches the last result, as a text that stays is added next."""
        if self._last[0] is not text:
            self._last = (text, read(text))
        return self._last[1]

    def _index(self, keys: list[str | None], start: int) -> None:
        places = self._places
        for position, key in enumerate(keys, start):
            if key is None:
                continue
            known = places.get(key)
            if known is None:
                if not _trivial(key):
                    places[key] = position
            elif isinstance(known, int):
                places[key] = [known, position]
            elif len(known) < _PLACES_OF_A_SOURCE or known[-_PLACES_OF_A_SOURCE] < start:
                known.append(position)

    def mark(self) -> Mark:
        """Return the current state, for :meth:`rollback`."""
        return Mark(self._dropped + len(self._held), self._dropped)

    def rollback(self, mark: Mark) -> bool:
        """Restore a state; the cost depends on the sources added since.

        Returns False, without any change, if sources of that state have been dropped since: the
        index must then be rebuilt.
        """
        keep = mark.added - mark.dropped
        if mark.dropped != self._dropped or keep > len(self._held):
            return False
        while len(self._held) > keep:
            held = self._held[-1]
            at = held.start - self._base
            self._forget(-1, self._keys[at:])
            del self._keys[at:], self._numbers[at:]
        return True

    def _drop_oldest(self) -> None:
        size = self._held[0].lines + 1
        main = self._held[0].main
        self._forget(0, self._keys[:size])
        del self._keys[:size], self._numbers[:size]
        self._base += size
        self._dropped += 1
        if self._held and self._held[0].main == main:
            self._drop_oldest()

    def _forget(self, at: int, keys: list[str | None]) -> None:
        """Remove the oldest (0) or the newest (-1) source, whose lines are ``keys``."""
        held = self._held.pop(at)
        self._starts.pop(at)
        name = held.source.call, held.source.kind
        if held.main == held.start:
            self._named[name].pop(at)
            if not self._named[name]:
                del self._named[name]
        self._lines -= held.lines
        self._chars -= held.chars
        end = held.start + held.lines
        for key in keys:
            known = self._places.get(key) if key is not None else None
            if key is None or known is None:
                continue
            rest = [known] if isinstance(known, int) else known
            while rest and held.start <= rest[at] < end:
                rest.pop(at)
            if not rest:
                del self._places[key]
            elif len(rest) == 1:
                self._places[key] = rest[0]

    def fold(self, text: str, own: str = "", *, written: bool = False) -> Folded | None:
        """Return ``text`` with references to equal runs in the sources; None if none saves enough.

        ``own`` is the id of the call whose output the text is. ``written`` says that the text is a
        form of that output, so that its lines are not the output's; the references say so.
        """
        here = self._split(text)
        added = added_by_diff(here, text)
        lines = text.split("\n")
        scopes = scopes_of(lines) if written else []
        ends = list(accumulate(map(len, lines), lambda end, size: end + size + 1, initial=0))
        out: list[str] = []
        references: list[Reference] = []
        i = floor = here.head
        done = 0
        while i < here.total:
            read_as, best, i = self._best(here, added, ends, i, floor, own)
            if best is not None and scopes:
                best = _uncut(best, scopes, ends)
            if best is None or best.chars < self._least_saved + _SHORTEST_REFERENCE:
                continue
            at = len(out) + best.first - done
            reference, line = self._refer(read_as, best, at, references, own, written)
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

    def _best(
        self, here: Text, added: Text | None, ends: list[int], i: int, floor: int, own: str
    ) -> tuple[Text, _Found | None, int]:
        """Return the longest run through own line ``i``, and the next line to be tried.

        The line is compared as it is and, where a diff has ``added`` it, without its sign; the
        text returned is the one of the two that the run is in.
        """
        read_as, best, after = here, None, 0
        for side in (here, added) if added is not None else (here,):
            key = side.keys[i]
            known = self._places.get(key) if key is not None else None
            if known is None:
                continue
            found, reached = self._longest(side, ends, i, floor, known, own)
            after = min(after, reached) if after else reached
            if found is not None and (best is None or found.chars > best.chars):
                read_as, best = side, found
        return read_as, best, after or i + 1

    def _longest(
        self,
        here: Text,
        ends: list[int],
        i: int,
        floor: int,
        known: int | list[int],
        own_call: str,
    ) -> tuple[_Found | None, int]:
        """Return the longest run through own line ``i``, and the first line after all runs.

        Length is in characters; among equal ones, equal numbers are preferred, then nearness.
        Outputs with the same call id are not sources: a reader could not distinguish the two.
        """
        best: _Found | None = None
        reached = i + 1
        keys, own, base = self._keys, here.keys, self._base
        before = own[i - 1] if i > floor else NO_LINE
        after = own[i + 1] if reached < here.total else NO_LINE
        alone = ends[reached] - ends[i] >= self._least_saved + _SHORTEST_REFERENCE
        for position in (known,) if isinstance(known, int) else known[: -_PLACES - 1 : -1]:
            # Most places are of common lines, whose neighbours differ: skip those early.
            at = position - base
            self.compared += 2
            if not alone and keys[at + 1] != after and keys[at - 1] != before:
                continue
            held = self._held[bisect_right(self._starts, position) - 1]
            source = held.source
            if (source.call, source.kind) == (own_call, "output"):
                continue
            if self._named[source.call, source.kind][-1] != held.main:
                continue
            there = There(self._keys, self._numbers, held.numbering, at)
            back, forward, same = run_through(here, i, floor, there)
            self.compared += forward + back + 1
            reached = max(reached, i + forward)
            chars = ends[i + forward] - ends[i - back] - 1
            if best is None or (chars, same) > (best.chars, best.same):
                best = _Found(chars, same, position - back, i - back, i + forward, held)
        return best, reached

    def _refer(
        self,
        here: Text,
        found: _Found,
        line: int,
        before: list[Reference],
        own: str,
        written: bool,
    ) -> tuple[Reference, str]:
        """Return the reference for ``line`` of the folded text, and the text of that line."""
        first, end, held = found.first, found.end, found.held
        source = held.source
        number = here.numbers[first]
        source_number = self._numbers[found.position - self._base]
        source_first = held.origin[found.position - held.start]
        if found.same:
            reference = Reference(line, first + 1, end - first, source, source_first)
            counted = list(range(number, number + end - first))
            if here.numbering == ADDED or here.numbers[first:end] != counted:
                number = source_number = 0
        else:
            reference = Reference(
                line=line,
                first=first + 1,
                count=end - first,
                source=source,
                source_first=source_first,
                strip=held.numbering if source_number else None,
                numbering=here.numbering if number else None,
                number=number,
            )
        run = Run(
            lines=[without_layout(key) for key in here.keys[first:end] if key is not None],
            first=first + 1 - here.head,
            total=here.total - here.head,
            source=source,
            source_first=source_first - held.head,
            source_total=held.total - held.head,
            chars=found.chars,
            number=number,
            source_number=source_number,
            view=reference.strip.view if reference.strip is not None else "",
            added=reference.numbering == ADDED,
        )
        known = any(r.source == source for r in before)
        return reference, word(run, known, own, written=written)


def _uncut(found: _Found, scopes: Sequence[Scope], ends: list[int]) -> _Found | None:
    """Return the part of a run that cuts no note off the lines that it is about, if any."""
    first, end = uncut(scopes, found.first, found.end)
    if first >= end:
        return None
    chars = ends[end] - ends[first] - 1
    position = found.position + first - found.first
    return found._replace(chars=chars, position=position, first=first, end=end)


def _trivial(line: str) -> bool:
    """Return whether a line is too common to be a seed: blank, a bracket, a rule."""
    content = line.strip()
    return len(content) < 4 or (
        content[0] == content[1] == content[2] and content == content[0] * len(content)
    )
