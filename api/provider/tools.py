"""Removes bytes that have no meaning for a model from tool definitions.

Two things are removed, and every other byte is kept: ``$schema`` of a tool's own schema, if it
names the dialect that the APIs assume by default, or one in which this schema has the same meaning;
and in descriptions, blanks at line ends and all but one of consecutive empty lines. Whitespace
between JSON tokens is kept, because the provider parses the JSON anyway. The result depends only on
the definitions, so a session's prefix stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_BYTES = 1024 * 1024
"""Larger definitions are left unchanged; parsing them would delay other requests."""
_MOST_LEVELS = 64
"""Schemas and groups of tools that are nested deeper are left unchanged."""
_WORTH_READING = re.compile(rb'"\$schema"|(?: |\\t)(?:\\n|")|(?:\\n(?: |\\t)*){3}|\\n(?: |\\t)*"')
"""Without a match there is nothing to remove; not every match can be removed."""

_QUOTE = ord('"')
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FIELD = re.compile(rb"\s*(,?)\s*(%b)\s*:\s*" % _STRING, re.DOTALL)
_VALUE = re.compile(rb"%b|[^\s{}\[\]\",:]+" % _STRING, re.DOTALL)
_NEXT = re.compile(rb"%b|[{}\[\]]" % _STRING, re.DOTALL)
_BETWEEN = re.compile(rb"\s*,?\s*")
_FOLLOWING = re.compile(rb"\s*,\s*")

_SCHEMAS = frozenset({b'"input_schema"', b'"parameters"'})
"""The field of a tool's own schema: in Messages, and in Chat and Responses."""
_OF_NAMES = frozenset({b'"properties"', b'"patternProperties"', b'"$defs"', b'"definitions"'})
"""Keywords whose value is an object of schemas by name."""
_OF_SCHEMAS = frozenset(
    b'"%b"' % name
    for name in (
        b"items prefixItems additionalProperties anyOf allOf oneOf not if then else contains"
        b" propertyNames"
    ).split()
)
"""Keywords whose value is a schema or a list of schemas."""
_DEFAULT = re.compile(rb'"https?://json-schema\.org/draft/2020-12/schema#?"')
_DRAFT_07 = re.compile(rb'"https?://json-schema\.org/draft-07/schema#?"')
_ALIKE = _OF_SCHEMAS - {b'"prefixItems"', b'"items"'} | frozenset(
    b'"%b"' % name
    for name in (
        b"$schema $comment title description default examples type properties"
        b" patternProperties required enum const format pattern minimum maximum"
        b" exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength minItems maxItems"
        b" uniqueItems minProperties maxProperties readOnly writeOnly"
    ).split()
)
"""Keywords that mean the same in draft 7 as in 2020-12; so does ``items`` with one schema."""

_LINE_END = rb"\n"
_BLANK = re.compile(
    rb"[^\\ `]++"
    rb"|(?P<fence>```.*?(?:```|\Z))"
    rb"|(?P<tail>(?:(?: |\\t)*\\n)*(?: |\\t)*\Z)"
    rb"|(?P<lines>(?:(?: |\\t)*\\n){3,})"
    rb"|(?P<end>(?: |\\t)+(?=\\n))"
    rb"|(?: |\\t)+|\\.",
    re.DOTALL,
)
"""The parts of a string's content, as escaped by JSON. Fenced code blocks are kept unchanged.

No possessive quantifier stands after a group that can backtrack: Python before 3.11.5 matches those
wrongly (CPython issue 106052)."""


def tightened(tools: bytes) -> bytes:
    """Return a request's ``tools``, a valid JSON value, without the meaningless bytes."""
    if len(tools) > MOST_BYTES or not _WORTH_READING.search(tools):
        return tools
    reader = _Reader(tools)
    reader.tools()
    kept, at = [], 0
    for start, end in sorted(reader.cuts):
        kept.append(tools[at:start])
        at = end
    return b"".join([*kept, tools[at:]])


class _Reader:
    """Scans definitions once and collects the ranges to remove."""

    def __init__(self, raw: bytes) -> None:
        self.cuts: list[tuple[int, int]] = []
        self._raw = raw
        self._at = len(raw) - len(raw.lstrip())
        self._alike = True

    def tools(self, level: int = 0) -> None:
        """Read a list of tools; any other value is skipped."""
        for _ in self._items():
            self._tool(level)

    def _tool(self, level: int) -> None:
        for name, _ in self._fields():
            if name == b'"description"':
                self._description()
            elif name in _SCHEMAS:
                self._own_schema()
            elif name == b'"function"' and level < _MOST_LEVELS:
                self._tool(level + 1)
            elif name == b'"tools"' and level < _MOST_LEVELS:
                self.tools(level + 1)
            else:
                self._pass()

    def _own_schema(self) -> None:
        self._alike = True
        dialect: tuple[int, int] | None = None
        named = b""
        for name, start in self._fields():
            if name == b'"$schema"':
                value = self._at
                self._pass()
                named, dialect = self._raw[value : self._at], self._whole(start)
            else:
                self._keyword(name, 0)
        if dialect and (_DEFAULT.fullmatch(named) or (self._alike and _DRAFT_07.fullmatch(named))):
            self.cuts.append(dialect)

    def _whole(self, start: int) -> tuple[int, int]:
        """Return a field's range, from ``start`` to the current position, including one comma."""
        if self._raw[start : start + 1] == b",":
            return start, self._at
        comma = _FOLLOWING.match(self._raw, self._at)
        return start, comma.end() if comma else self._at

    def _schema(self, level: int) -> None:
        for name, _ in self._fields():
            self._keyword(name, level)

    def _keyword(self, name: bytes, level: int) -> None:
        if name == b'"description"':
            self._description()
            return
        is_list = self._raw[self._at : self._at + 1] == b"["
        self._alike = self._alike and (name in _ALIKE or (name == b'"items"' and not is_list))
        if level == _MOST_LEVELS:
            self._alike = False
            self._pass()
        elif name in _OF_NAMES:
            for _ in self._fields():
                self._schema(level + 1)
        elif name in _OF_SCHEMAS and is_list:
            for _ in self._items():
                self._schema(level + 1)
        elif name in _OF_SCHEMAS:
            self._schema(level + 1)
        else:
            self._pass()

    def _description(self) -> None:
        start = self._at
        self._pass()
        if not _WORTH_READING.search(self._raw, start, self._at) or self._raw[start] != _QUOTE:
            return
        inside = self._raw[start + 1 : self._at - 1]
        cuts = list(_blanks(inside))
        if sum(end - begin for begin, end in cuts) < len(inside):  # an empty one may be rejected
            self.cuts += [(start + 1 + begin, start + 1 + end) for begin, end in cuts]

    def _fields(self) -> Iterator[tuple[bytes, int]]:
        """Yield the fields of the object at the current position; any other value is skipped.

        Each is its name as written, and its start: the comma before it, or the name of the first
        field. The consumer reads the value.
        """
        if self._raw[self._at : self._at + 1] != b"{":
            self._pass()
            return
        self._at += 1
        while found := _FIELD.match(self._raw, self._at):
            self._at = found.end()
            yield found.group(2), found.start(1) if found.group(1) else found.start(2)
        self._at = self._raw.index(b"}", self._at) + 1

    def _items(self) -> Iterator[None]:
        """Yield once per item of the list at the current position; the consumer reads the item."""
        if self._raw[self._at : self._at + 1] != b"[":
            self._pass()
            return
        self._at += 1
        while True:
            found = _BETWEEN.match(self._raw, self._at)
            self._at = found.end() if found else self._at
            if self._raw[self._at : self._at + 1] == b"]":
                self._at += 1
                return
            yield

    def _pass(self) -> None:
        """Skip the value at the current position."""
        found = _VALUE.match(self._raw, self._at)
        if found:
            self._at = found.end()
            return
        depth = 0
        for token in _NEXT.finditer(self._raw, self._at):
            first = token.group()[:1]
            depth += (first in b"{[") - (first in b"}]")
            if not depth:
                self._at = token.end()
                return
        raise ValueError("the definitions are not valid JSON")


def _blanks(inside: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a string's content to remove."""
    for found in _BLANK.finditer(inside):
        kind = found.lastgroup
        if kind == "lines":  # keep the line end of the text before, and one empty line
            first = inside.index(_LINE_END, found.start())
            yield found.start(), first
            yield first + len(_LINE_END), found.end() - len(_LINE_END)
        elif kind in ("tail", "end") and found.end() > found.start():
            yield found.span()
