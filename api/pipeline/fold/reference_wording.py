"""What the model reads in place of a run of lines: one line that says where they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .line_prefixes import Name
from .references import Source

_DESCRIPTION_CHARS = 60
_LONG_RUN = 1000
"""Length of a run, in characters, from which longer quotes are worth their tokens."""
_SAYS_SOMETHING = re.compile(r"[^\W_][\W_]*[^\W_][\W_]*[^\W_]")
"""Three letters or digits: no rule, of underscores either."""


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
    what = f'input "{kind[6:]}"' if kind.startswith("input:") else kind
    if kind.startswith("output, part"):
        what += ","
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
