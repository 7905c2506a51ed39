"""What a text says that a reader may be asked for, and whether another text still says it."""

from __future__ import annotations

import re
from collections.abc import Iterator

KINDS = ("identifiers", "numbers", "paths", "error lines", "headings", "negations")
_MOST = 60
"""Facts of one kind taken from one text: the first ones, then evenly spread."""
_PATTERNS = {
    "identifiers": re.compile(r"\b(?:[A-Za-z]+_\w+|[a-z]+[A-Z]\w+)"),
    "numbers": re.compile(r"(?<![\w.])\d[\d.:,]*\d\b|(?<![\w.])\d\b"),
    "paths": re.compile(r"(?<![\w.])(?:[\w.-]*/)+[\w.-]*\w"),
    "error lines": re.compile(
        r"(?im)^.*\b(?:error|failed|fatal|panic\w*|refused|denied|killed|\w+(?:Error|Exception))\b.*$"
    ),
    "headings": re.compile(r"(?m)^#{1,6} .+$"),
    "negations": re.compile(
        r"\b(?:not|never|cannot|unless|nobody|without)[ \t]+(?:\w+[ \t]+){0,2}\w+", re.I
    ),
}
_MEMBER = re.compile(r'("[^"]+") ?: ?(.+?),?')
"""A member of an object, on a line of its own: a table has its key above and its value below."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def facts_of(text: str) -> dict[str, list[str]]:
    """Return the facts of ``text`` by kind, each once."""
    plain = ANSI.sub("", text)
    found = {}
    for kind, pattern in _PATTERNS.items():
        every = list(dict.fromkeys(match[0].strip() for match in pattern.finditer(plain)))
        step = max(1, len(every) // _MOST)
        found[kind] = every[::step][:_MOST]
    return found


_ROWS = re.compile(
    r"\[\.\.\. rows (\d+): (\d+) (?:lines?|blocks?) (?:is|are) like the next "
    r'(?:one|(\d+) lines), each row is its values for \{\}(?:, parted by "(.)")?.*'
)
_NAMED_ROWS = re.compile(r"\[\.\.\. rows by name: the next (\d+) lines? .*")
_NAMED_ROW = re.compile(r"\.\.\.(\w+)(\W?)(.*)")
_MORE_ROWS = re.compile(r"\[\.\.\. rows (\d+) again: (\d+), .*")


def put_in(text: str) -> str:
    """Return ``text`` with rows of values put into the places of the lines above them.

    As its notes tell a reader to; what they do not explain stays as it is.
    """
    lines = text.split("\n")
    out: list[str] = []
    tables: dict[str, tuple[str, str]] = {}
    named: dict[str, str] = {}
    at = 0
    while at < len(lines):
        names, one = _NAMED_ROWS.match(lines[at]), _NAMED_ROW.fullmatch(lines[at])
        if names is not None:
            count = int(names[1])
            named = dict(line[3:].split(" = ", 1) for line in lines[at + 1 : at + 1 + count])
            at += 1 + count
            continue
        if one is not None and one[1] in named:
            out.append(_put_in(named[one[1]], one[2], one[3]))
            at += 1
            continue
        head, more = _ROWS.match(lines[at]), _MORE_ROWS.match(lines[at])
        at += 1
        if head is None and more is None:
            out.append(lines[at - 1])
            continue
        if head is not None:
            height = int(head[3] or 1)
            like = "\n".join(line.removeprefix("...") for line in lines[at : at + height])
            tables[head[1]] = (like, head[4] or "")
            at += height
        number, count = (head or more)[1], int((head or more)[2])  # type: ignore[index]
        like, sign = tables[number]
        while count and at < len(lines):
            row = lines[at]
            at += 1
            if row.startswith("..."):
                row = _put_in(like, sign, row[3:])
                count -= 1
            out.append(row)
    return "\n".join(out)


def _put_in(like: str, sign: str, row: str) -> str:
    """Return the line or lines ``like`` this, with a row's values in the places."""
    values = row.split(sign) if sign else [row]
    left = iter(values)

    def value(place: re.Match[str]) -> str:
        again = re.fullmatch(r"\{=(\d+)\}", place[0])
        return "".join(values[int(again[1]) - 1 :][:1]) if again else next(left, "")

    return re.sub(r"\{(?:[<>=]\d+)?\}", value, like)


class Shown:
    """A text as a reader has it, ready to be asked for facts."""

    def __init__(self, text: str) -> None:
        self.text = ANSI.sub("", text)
        self._spaced = " ".join(self.text.split())

    def says(self, fact: str) -> bool:
        """Return whether ``fact`` is there, whole or with its beginning said once above it."""
        fact = fact.rstrip()
        if fact in self.text or " ".join(fact.split()) in self._spaced:
            return True
        member = _MEMBER.fullmatch(fact)
        if member is not None and member[1] in self.text and member[2] in self.text:
            return True
        return any(tail in self.text and head in self.text for head, tail in _cuts(fact))


def _cuts(fact: str) -> Iterator[tuple[str, str]]:
    for place, sign in enumerate(fact):
        if sign in ":/\\-" and 0 < place < len(fact) - 1:
            yield fact[:place], fact[place + 1 :]
