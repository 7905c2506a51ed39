"""Folding: a run of lines that the conversation already contains becomes a short reference.

This module has the data types (:class:`Source`, :class:`Reference`, :class:`Folded`), the text of a
reference and its exact inverse (:func:`unfold`); the line index finds the runs.

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
from typing import Any, NamedTuple

from .line_prefixes import Name, bare

_DESCRIPTION_CHARS = 60
_LONG_RUN = 1000
"""Length of a run, in characters, from which longer quotes are worth their tokens."""
_NUMBER = re.compile(r"( *)([1-9][0-9]{0,8})([\t→])")
"""Claude Code's Read prints ``N<tab>line`` (once ``     N→line``), ``cat -n`` pads to six."""
_HEAD = re.compile(r"Chunk ID: [^\n]*\n(?:[A-Z][^\n]*\n){0,8}?Output:\n")
"""The lines that Codex prints before a command's output; they differ from call to call."""
_SAYS_SOMETHING = re.compile(r"[^\W_][\W_]*[^\W_][\W_]*[^\W_]")
"""Three letters or digits: no rule, of underscores either."""


@dataclass(frozen=True, slots=True)
class Source:
    """A text of the conversation that later texts may refer to.

    ``call`` is the tool call's id, ``description`` what it did (:func:`describe`), ``kind``
    is ``output`` or ``input:FIELD``. ``call`` and ``kind`` together identify the text.
    """

    call: str
    description: str
    kind: str = "output"


class Numbering(NamedTuple):
    """How a text prints line numbers: right-aligned in ``width`` columns, before ``separator``.

    A source's ``view`` is the kind of prefix before its lines, and so how it is removed. The lines
    that a diff adds have a sign instead of a number (:data:`ADDED`): all have the number 1.
    """

    width: int
    separator: str
    view: Name = ""

    def print(self, number: int) -> str:
        """The prefix of a line with this number."""
        return "+" if self.sign else f"{number:>{self.width}}{self.separator}"

    @property
    def sign(self) -> bool:
        """Whether a sign is printed, which is the same before each line."""
        return self.separator == "+"

    def bare(self, line: str) -> str:
        """Return a line without its number or other prefix."""
        return bare(line, self.view) if self.view else line.split(self.separator, 1)[1]


ADDED = Numbering(0, "+")


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


def split_numbers(lines: list[str], text: str) -> tuple[list[str], list[int], Numbering | None]:
    """Separate line numbers from the lines' contents.

    Returns the contents, the numbers (0 for a line without) and how they are printed, None if
    no line has one. A line counts as numbered only if ``numbering.print(number) + content``
    gives it back exactly. The first numbered line decides the format for the whole text.
    """
    if "\t" not in text and "→" not in text:
        return lines, [0] * len(lines), None
    numbering: Numbering | None = None
    contents: list[str] = []
    numbers: list[int] = []
    match = _NUMBER.match
    expected, number = "", 0
    for line in lines:
        if number and line.startswith(expected):
            contents.append(line[len(expected) :])
            numbers.append(number)
        else:
            number = 0
            found = match(line)
            if found is not None:
                padding, digits, separator = found.groups()
                width = len(padding) + len(digits)
                if numbering is None:
                    numbering = Numbering(width if padding else 0, separator)
                fits = width == numbering.width if padding else width >= numbering.width
                if fits and separator == numbering.separator:
                    number = int(digits)
            contents.append(line[found.end() :] if found and number else line)
            numbers.append(number)
        if numbering is not None and number:
            # Fast path: the next line usually has the next number.
            number += 1
            expected = numbering.print(number)
    return contents, numbers, numbering


def head_lines(text: str) -> int:
    """Return the number of lines that a harness printed before the output; they are not folded."""
    head = _HEAD.match(text)
    return text.count("\n", 0, head.end()) if head else 0


def describe(tool: str, arguments: Mapping[str, Any] | None) -> str:
    """Return what a tool call did, in at most 60 characters: the tool and its command or path."""
    arguments = arguments or {}
    for name in ("command", "cmd", "file_path", "path", "pattern", "query", "url"):
        value = arguments.get(name)
        if isinstance(value, list):
            value = " ".join(str(word) for word in value)
        if not isinstance(value, str) or not value.strip():
            continue
        line, more, _ = value.strip().partition("\n")
        room = _DESCRIPTION_CHARS - len(tool) - 2
        if name.endswith("path") and len(line) > room:
            # A path is most specific at its end, a command at its beginning.
            line = "…" + line[1 - room :]
        elif more or len(line) > room:
            line = line[: room - 1].rstrip() + "…"
        line = _printable(line)
        return f"{tool}: {line}"
    return tool


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


@dataclass(frozen=True, slots=True)
class Run:
    """The input of :func:`word`: ``lines`` are the omitted lines without their numbers.

    ``number`` and ``source_number`` are the printed numbers of the first line here and
    there, 0 if none is printed. ``total`` and ``source_total`` count all lines of the two.
    Lines are counted from below a harness's head (:func:`head_lines`).
    """

    lines: list[str]
    first: int
    total: int
    source: Source
    source_first: int
    source_total: int
    chars: int
    number: int = 0
    source_number: int = 0
    view: Name = ""
    added: bool = False
    """Whether a diff prints the lines here, each behind a sign."""


def word(run: Run, known: bool, own: str, *, written: bool = False) -> str:
    """Return the reference's text, one line.

    ``known`` says that this text has referred to the same source before, so it is not described
    again; ``own`` is the id of the call whose output this is. ``written`` says that the lines are
    those of a form of that output, which a reader must not confuse with the output's lines.
    """
    count = len(run.lines)
    lines = f"{count} line" if count == 1 else f"{count} lines"
    if written:
        lines += " as written here, notes counted"
    one = count == 1
    if count == run.total:
        here = f"this entire output ({lines}) is"
    elif one:
        here = f"line {run.first} of this output is"
    else:
        here = f"lines {run.first}-{run.first + count - 1} of this output ({lines}) are"
    kind = run.source.kind
    what = "output" if kind == "output" else f'input "{kind.removeprefix("input:")}"'
    if count == run.source_total:
        there = f"the entire {what}"
    elif one:
        there = f"line {run.source_first} of the {what}"
    else:
        there = f"lines {run.source_first}-{run.source_first + count - 1} of the {what}"
    if run.source.call == own:
        where = "of this very call"
    else:
        where = f"of CALL {run.source.call}"
        if not known:
            where += f" as shown above ({run.source.description})"
    return f"[{here} identical to {there} {where}{_numbers(run, count)}{_edges(run)}; omitted here]"


def _numbers(run: Run, count: int) -> str:
    """Return the part about line numbers; empty if neither text prints any."""
    if not run.number and not run.source_number:
        return ""
    here = f"{run.number}-{run.number + count - 1}"
    there = f"{run.source_number}-{run.source_number + count - 1}"
    if run.added:
        sign = run.view == "diff"
        numbered = "+ or a blank before each line" if sign else f"line numbers {there}"
        with_what = f"with {numbered}" if run.source_number else "without"
        return f", here with + before each line, there {with_what}"
    if run.view == "diff":
        without = f", here with line numbers {here}" if run.number else ""
        return f", there with + or a blank before each line{without}"
    if not run.source_number:
        return f", here with line numbers {here}, there without"
    if not run.number:
        return f", there with line numbers {there}, here without"
    if run.number == run.source_number:
        return f", numbered {here} in both"
    return f", but numbered {here} here and {there} there"


def _edges(run: Run) -> str:
    """Return quotes of the first and the last line whose quoted part is informative."""
    most = 60 if run.chars >= _LONG_RUN else 36
    first = next((i for i, line in enumerate(run.lines) if _says(line, most)), None)
    if first is None:
        return ""
    last = next(i for i in range(len(run.lines) - 1, -1, -1) if _says(run.lines[i], most))
    if first == last:
        return f", '{_quote(run.lines[first], most)}'"
    return f", from '{_quote(run.lines[first], most)}' to '{_quote(run.lines[last], most)}'"


def _says(line: str, most: int) -> bool:
    return _SAYS_SOMETHING.search(line.strip()[: most - 1]) is not None


def _quote(line: str, most: int) -> str:
    """Return a line's beginning with its indentation, which is shortened if it is deep."""
    line = line.rstrip()
    most += min(len(line) - len(line.lstrip()), most)
    return _printable(line if len(line) <= most else line[: most - 1] + "…")


def _printable(text: str) -> str:
    """Return ``text`` without line ends, control characters and lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)
