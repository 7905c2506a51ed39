"""Folding: a run of lines that the conversation already contains becomes a short reference.

This module has the data types (:class:`Source`, :class:`Reference`, :class:`Folded`) and the exact
inverse (:func:`unfold`); the line index finds the runs, :mod:`.reference_wording` says what the
model reads in their place.

headroom has ``headroom.transforms.cross_turn_dedup.dedup_blocks`` (``HEADROOM_DEDUPE``) for the
same purpose. It is not called here, for these reasons:

* it processes all blocks of a conversation together and keeps no state for the next turn, so a
  conversation of n turns would be read n times;
* it keeps the first 16 places of each line in the whole conversation, also of common lines, so a
  later copy of a file is not found once its lines have been seen often;
* its pointer (``[↑146L same as msg 7: 'import json'...]``) names a message's ordinal, which no
  provider shows to a model, and neither the range here nor the range there;
* ``cat -n`` and older Read output (padded numbers), and numbered against unnumbered text, do not
  match; a tool call's input is not a source; a block that was folded loses its line numbers.

Two of its rules apply here too: references are made only to text that was sent verbatim, and a
block is compared with earlier blocks only, so a later turn never changes an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .line_numbers import Numbering

_HEAD = re.compile(r"Chunk ID: [^\n]*\n(?:[A-Z][^\n]*\n){0,8}?Output:\n")
"""The lines that Codex prints before a command's output; they differ from call to call."""


@dataclass(frozen=True, slots=True)
class Source:
    """A text of the conversation that later texts may refer to.

    ``call`` is the tool call's id, ``description`` what it did, ``kind``
    is ``output``, ``output, part 2`` or ``input:FIELD``. ``call`` and ``kind`` together
    identify the text.
    """

    call: str
    description: str
    kind: str = "output"


@dataclass(frozen=True, slots=True)
class Reference:
    """One omitted run.

    ``line`` is the index of the reference's line in the folded text (from 0); ``first`` and
    ``source_first`` are line numbers in the two texts as they were before folding (from 1).
    ``strip`` says that the source's lines have printed numbers, which must be removed;
    ``numbering`` and ``number`` (that of the first line) say which to add. Both None: the lines
    are equal without changes.
    """

    line: int
    first: int
    count: int
    source: Source
    source_first: int
    strip: Numbering | None = None
    numbering: Numbering | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Folded:
    """A text with references in place of runs; ``saved`` is in characters, always above 0."""

    text: str
    references: tuple[Reference, ...]
    saved: int


def unfold(folded: Folded, sources: Mapping[Source, str]) -> str:
    """Return the text that was folded, character for character.

    ``sources`` has each source's text as it was before folding. References are found by their
    positions, so text that looks like a reference is never taken for one.
    """
    lines = folded.text.split("\n")
    out: list[str] = []
    at = 0
    for reference in folded.references:
        out.extend(lines[at : reference.line])
        first = reference.source_first - 1
        run = sources[reference.source].split("\n")[first : first + reference.count]
        if reference.strip is not None:
            run = [reference.strip.bare(line) for line in run]
        if reference.numbering is not None:
            put = reference.numbering.print
            run = [put(reference.number + i) + line for i, line in enumerate(run)]
        out.extend(run)
        at = reference.line + 1
    out.extend(lines[at:])
    return "\n".join(out)


def head_lines(text: str) -> int:
    """Return the number of lines that a harness printed before the output; they are not folded."""
    head = _HEAD.match(text)
    return text.count("\n", 0, head.end()) if head else 0


def input_texts(arguments: object, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield the string values of a tool call's input that have several lines, as (FIELD, text)."""
    if isinstance(arguments, str):
        if "\n" in arguments:
            yield field or "input", arguments
    elif isinstance(arguments, Mapping):
        for name, value in arguments.items():
            yield from input_texts(value, f"{field}.{name}" if field else str(name))
    elif isinstance(arguments, Sequence):
        for i, value in enumerate(arguments):
            yield from input_texts(value, f"{field}.{i}" if field else str(i))
