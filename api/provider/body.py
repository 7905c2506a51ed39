"""A request body's fields as byte ranges, so that unchanged fields are sent as the same bytes."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from shared.errors import UNREADABLE_JSON, FarmError

_MOST_FIELDS = 256
"""Maximum number of top-level fields of a body; the APIs define about thirty."""
_MOST_TOKENS = 50_000
"""Maximum number of brackets and strings scanned in unknown fields (about 10 ms)."""
_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_QUOTES = 1000
_SLASHES = 16
"""Quotes in a string, and backslashes before one, up to which the string is searched."""
_SCALAR = re.compile(rb"[^,}\]\s]+")
_ITEM = b"0"
"""Stands for the items of a list that need not be read."""
_NEXT = re.compile(rb'["{}\[\]]')


class Unreadable(FarmError):
    """A body or an answer that the farm cannot parse; it is passed on unchanged."""


class _Known(msgspec.Struct):
    """The fields that may be large; msgspec finds where their values end."""

    messages: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")
    system: msgspec.Raw = msgspec.Raw(b"")
    instructions: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")
    choices: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")


_known = msgspec.json.Decoder(_Known)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


_T = TypeVar("_T")


def parse(decoder: msgspec.json.Decoder[_T], raw: bytes, fault: str) -> _T:
    """Decode ``raw`` with ``decoder``.

    Raises:
        Unreadable: ``raw`` does not have the decoder's type; ``fault`` is the message.
    """
    try:
        return decoder.decode(raw)
    except UNREADABLE_JSON:
        raise Unreadable(fault) from None


class Body:
    """The bytes of a JSON object, and the offsets of its fields."""

    __slots__ = ("_spans", "raw")

    def __init__(self, raw: bytes, read_before: tuple[int, int] = (0, 0)) -> None:
        """Find the fields of ``raw``.

        ``read_before`` are the offsets of leading items of a list that are known to be valid JSON;
        they are not read again.

        Raises:
            Unreadable: it is not a JSON object, has a duplicate field, or is too complex.
        """
        self.raw = raw
        try:
            start, end = read_before
            if not end:
                self._spans = _walk(raw, _known.decode(raw))
                return
            short = raw[:start] + _ITEM + raw[end:]
            moved = end - start - len(_ITEM)
            self._spans = {
                name: (first + moved * (first > start), last + moved * (last > start))
                for name, (first, last) in _walk(short, _known.decode(short)).items()
            }
        except (*UNREADABLE_JSON, IndexError):
            raise Unreadable("the body is not a valid JSON object") from None

    @classmethod
    def of(cls, body: bytes | Body) -> Body:
        """Return ``body`` as a Body; one that was parsed before is returned as it is."""
        return body if isinstance(body, Body) else cls(body)

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def field(self, name: str) -> bytes:
        """Return the field's value as received, empty if there is none."""
        start, end = self._spans.get(name, (0, 0))
        return self.raw[start:end]

    def get(self, name: str) -> Any:
        """Return the field's decoded value; None if it is absent or cannot be decoded."""
        value = self.field(name)
        try:
            return msgspec.json.decode(value) if value else None
        except UNREADABLE_JSON:
            return None

    def list_of(self, name: str) -> bytes:
        """Return a list as received, an empty one if the field is absent or null.

        Raises:
            Unreadable: the field is not a list.
        """
        value = self.field(name)
        if value in (b"", b"null"):
            return b"[]"
        if not value.startswith(b"["):
            raise Unreadable("a list was expected")
        return value

    def items(self, name: str) -> list[bytes]:
        """Return the items of a list as received; none if the field is absent or null.

        Raises:
            Unreadable: the field is not a list.
        """
        return array_items(self.list_of(name))

    def leading_items(self, name: str, most: int) -> Iterator[bytes]:
        """Yield up to ``most`` leading items of a list as received.

        The items after the last one taken are not parsed, unless one is too complex to scan.

        Raises:
            Unreadable: the field is not a list.
        """
        value = self.list_of(name)
        at = _skip(value, 1)
        for number in range(most):
            if value[at : at + 1] == b"]":
                return
            try:
                end = _end_of(value, at, b"")
            except Unreadable:  # too complex to scan
                yield from array_items(value)[number:most]
                return
            yield value[at:end]
            at = _skip(value, end)
            if value[at : at + 1] == b",":
                at = _skip(value, at + 1)

    def replaced(self, fields: Mapping[str, bytes | list[bytes]]) -> bytes:
        """Return the body with these raw values; fields that were absent are appended.

        A value may be a list of its pieces, so that large ones are copied only once.
        """
        pieces: list[bytes] = []
        at = 0
        present = [(self._spans[name], _pieces(fields[name])) for name in fields if name in self]
        for (start, end), value in sorted(present):
            pieces += [self.raw[at:start], *value]
            at = end
        absent = [name for name in fields if name not in self]
        if absent:
            close = self.raw.rindex(b"}")
            pieces.append(self.raw[at:close])
            for number, name in enumerate(absent):
                comma = b"," if self._spans or number else b""
                pieces += [b'%b"%b":' % (comma, name.encode()), *_pieces(fields[name])]
            at = close
        pieces.append(self.raw[at:])
        return b"".join(pieces)

    def without(self, names: Container[str]) -> bytes:
        """Return the body without these fields."""
        kept = [name for name in self._spans if name not in names]
        pairs = [msgspec.json.encode(name) + b":" + self.field(name) for name in kept]
        return b"{" + b",".join(pairs) + b"}"


def array_items(raw: bytes) -> list[bytes]:
    """Return the items of a raw list.

    Raises:
        Unreadable: ``raw`` is not a list.
    """
    return [bytes(item) for item in parse(_raws, raw, "a list was expected")]


def array_of(items: Iterable[bytes]) -> bytes:
    """Join raw items into a raw list."""
    return b"[" + b",".join(items) + b"]"


def array_pieces(items: Iterable[bytes]) -> list[bytes]:
    """Return the pieces of a raw list of raw items, as :meth:`Body.replaced` takes them."""
    pieces = [piece for item in items for piece in (b",", item)]
    return [b"[", *pieces[1:], b"]"]


def array_with(raw: bytes, *more: bytes) -> bytes:
    """Return a raw list with the items ``more`` appended."""
    if not more:
        return raw
    close = raw.rindex(b"]")
    comma = b"," if raw[1:close].strip() else b""
    return raw[:close] + comma + b",".join(more) + raw[close:]


def _pieces(value: bytes | list[bytes]) -> list[bytes]:
    return value if isinstance(value, list) else [value]


def _walk(raw: bytes, known: _Known) -> dict[str, tuple[int, int]]:
    """Return the start and end offsets of each top-level field's value."""
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(raw, raw.index(b"{") + 1)
    while raw[at : at + 1] != b"}":
        if spans:
            at = _skip(raw, at + 1)  # the comma
        key = _STRING.match(raw, at)
        if key is None or len(spans) == _MOST_FIELDS:
            raise Unreadable("the body has too many fields")
        name = msgspec.json.decode(key.group())
        start = _skip(raw, _skip(raw, key.end()) + 1)
        end = _end_of(raw, start, bytes(getattr(known, name, b"")))
        if name in spans:
            raise Unreadable("the body has a duplicate field")
        spans[name] = (start, end)
        at = _skip(raw, end)
    return spans


def _skip(raw: bytes, at: int) -> int:
    found = _SPACE.match(raw, at)
    return found.end() if found else at


def _end_of(raw: bytes, start: int, expected: bytes) -> int:
    """Return the end of the value at ``start``; ``expected`` is its text if msgspec decoded it."""
    if expected and raw.startswith(expected, start):
        return start + len(expected)
    first = raw[start : start + 1]
    if first == b'"':
        end = _end_of_string(raw, start)
        if not end:
            raise Unreadable("the body cannot be read")
        return end
    if first not in (b"{", b"["):
        found = _SCALAR.match(raw, start)
        if found is None:
            raise Unreadable("the body cannot be read")
        return found.end()
    return _end_of_nested(raw, start)


def _end_of_string(raw: bytes, start: int) -> int:
    """Return the end of the string at ``start``, 0 if it has none.

    ``find`` is thirty times as fast as the pattern, except in strings with very many quotes.
    """
    at = start
    for _ in range(_QUOTES):
        at = raw.find(b'"', at + 1)
        if at < 0:
            return 0
        before = raw[max(start + 1, at - _SLASHES) : at]
        slashes = len(before) - len(before.rstrip(b"\\"))
        if slashes == _SLASHES:
            break
        if slashes % 2 == 0:
            return at + 1
    found = _STRING.match(raw, start)
    return found.end() if found else 0


def _end_of_nested(raw: bytes, start: int) -> int:
    depth, at = 0, start
    for _ in range(_MOST_TOKENS):
        found = _NEXT.search(raw, at)
        if found is None:
            break
        at, what = found.end(), found.group()
        if what == b'"':
            at = _end_of_string(raw, at - 1)
            if not at:
                break
        else:
            depth += 1 if what in b"{[" else -1
            if not depth:
                return at
    raise Unreadable("a field of the body is too complex")
