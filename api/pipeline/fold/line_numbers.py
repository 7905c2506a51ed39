"""Line numbers that a text prints before its lines: how they look, without and with them."""

from __future__ import annotations

import re
from typing import NamedTuple

from .line_prefixes import Name, bare

_NUMBER = re.compile(r"( *)([1-9][0-9]{0,8})([\t→])")
"""Claude Code's Read prints ``N<tab>line`` (once ``     N→line``), ``cat -n`` pads to six."""


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
