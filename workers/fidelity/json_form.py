"""JSON in fewer characters, and back, byte for byte: indentation goes, keys are said once.

The text is read as tokens, never as values: numbers, strings, the order of keys and keys that come
twice keep their spelling. A list of objects with the same keys becomes a table, ``[3]{"a","b"}``
and a line of values for each. Objects in a column of it that are alike are values too:
``[3]{"a","b":[{"c","d"}]}`` has rows like ``1,[[2,3],[4,5]]``.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from . import omission_notes as notes
from .reversible import ReversibleForm

_ONE = r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|NaN|-?Infinity|[\[\]{}:,]'
_HEADER = re.compile(r"\[\d+\]\{")
TOKEN = re.compile(rf"{_HEADER.pattern}|{_ONE}")
"""A table's header begins without a blank: a row that ends in ``[5]`` may stand above ``{``."""
TOKENS = re.compile(rf"(?>\s*(?>{_ONE}))*+\s*")
"""Atomic: a text that is no JSON is left at once, whatever it is."""
_ELEMENT = re.compile(r"\[(\s*)[{\[].*[}\]](,[ \t]*\n\s*)[{\[]")
_LAST = re.compile(r"[}\]](\s*+)\]\s*+\Z")
_KEY_SIGN = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"(: ?)')
_DEEPEST = 60
_LEAST_ROWS = 3


class Object(NamedTuple):
    """Pairs of a key's and a value's spelling."""

    pairs: list[tuple[str, Any]]


class Key(NamedTuple):
    """A column of a table: its key, and the keys of the objects in it.

    ``many`` says that each of its values is a list of such objects. ``inner`` is None where the
    values are any.
    """

    name: str
    inner: Keys | None = None
    many: bool = False

    @property
    def shown(self) -> str:
        """Return the key as a header shows it."""
        if self.inner is None:
            return self.name
        inner = f"{{{','.join(key.shown for key in self.inner)}}}"
        return f"{self.name}:[{inner}]" if self.many else f"{self.name}:{inner}"


Keys = list[Key]


class Style(NamedTuple):
    """How the text was written: Python's ``json.dumps`` arguments.

    ``elements`` is what stands before, between and behind the elements of the outermost list where
    each has a line of its own, as ``sqlite3 -json`` prints them.
    """

    indent: str | None
    item: str
    key: str
    end: str
    elements: tuple[str, str, str] | None = None

    def named(self) -> str:
        """Return the style in words, as the note says it."""
        if self.elements is not None:
            return "line breaks between elements and repeated keys"
        if self.indent is None:
            return "repeated keys"
        unit = "a tab" if self.indent == "\t" else f"{len(self.indent)} blanks"
        return f"line breaks, indentation of {unit} and repeated keys"


FLAT = Style(None, ", ", ": ", "")


class Reader:
    """Reads the text of a value, also where tables stand in it."""

    def __init__(self, text: str) -> None:
        if TOKENS.fullmatch(text) is None:
            raise ValueError("not JSON")
        self._tokens: list[str] = TOKEN.findall(text)
        self._at = 0

    def read(self) -> Any:
        value = self._value(0)
        if self._at != len(self._tokens):
            raise ValueError("more than one value")
        return value

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise ValueError(f"no {token!r}")

    def _value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("too deep")
        mark = self._next()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._list(depth)
        if mark[0] == "[":
            return self._table(int(mark[1:-2]), depth)
        if mark in "]}:,":
            raise ValueError(f"{mark!r} for a value")
        return mark

    def _object(self, depth: int) -> Object:
        pairs = []
        if self._tokens[self._at] == "}":
            self._at += 1
            return Object([])
        while True:
            key = self._next()
            if key[0] != '"':
                raise ValueError("no key")
            self._expect(":")
            pairs.append((key, self._value(depth + 1)))
            mark = self._next()
            if mark == "}":
                return Object(pairs)
            if mark != ",":
                raise ValueError("no comma")

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        if self._tokens[self._at] == "]":
            self._at += 1
            return items
        while True:
            items.append(self._value(depth + 1))
            mark = self._next()
            if mark == "]":
                return items
            if mark != ",":
                raise ValueError("no comma")

    def _table(self, count: int, depth: int) -> list[Any]:
        keys = self._keys()
        return [self._row(keys, depth) for _ in range(count)]

    def _keys(self) -> Keys:
        """Read the keys of a table's header, behind its ``{``."""
        keys: Keys = []
        mark = ","
        while mark == ",":
            key = self._next()
            mark = self._next()
            inner, many = None, False
            if mark == ":":
                many = self._next() == "["
                if many:
                    self._expect("{")
                inner = self._keys()
                if many:
                    self._expect("]")
                mark = self._next()
            keys.append(Key(key, inner, many))
        if mark != "}":
            raise ValueError("no end of keys")
        return keys

    def _row(self, keys: Keys, depth: int) -> Object:
        pairs = []
        for place, key in enumerate(keys):
            if place:
                self._expect(",")
            pairs.append((key.name, self._cell(key, depth + 1)))
        return Object(pairs)

    def _cell(self, key: Key, depth: int) -> Any:
        if key.inner is None:
            return self._value(depth)
        self._expect("[")
        if not key.many:
            found: Any = self._row(key.inner, depth)
            self._expect("]")
            return found
        if self._tokens[self._at] == "]":
            self._at += 1
            return []
        rows, mark = [], ","
        while mark == ",":
            self._expect("[")
            rows.append(self._row(key.inner, depth))
            self._expect("]")
            mark = self._next()
        if mark != "]":
            raise ValueError("no end of rows")
        return rows


def parsed(text: str) -> Any:
    """Return JSON ``text`` as a tree of spellings; None where it is not one JSON value."""
    try:
        return Reader(text).read()
    except (ValueError, IndexError):
        return None


def shortened(text: str, tree: Any) -> ReversibleForm | None:
    """Return JSON ``text``, of which ``tree`` is, without indentation and with like objects' keys
    said once."""
    if tree is None or isinstance(tree, str):
        return None
    style = style_of(text, tree)
    if style is None:
        return None
    note = notes.fewer(style.named())
    made = f"{note}\n{short(tree)}"

    def inverse(result: str) -> str:
        head, body = result.split("\n", 1)
        if head != note:
            raise ValueError("no note")
        return written(Reader(body).read(), style) + style.end

    return ReversibleForm(made, inverse, "farm_json") if len(made) < len(text) else None


def short(tree: Any) -> str:
    """Return the tree in fewer characters, as :class:`Reader` reads it."""
    out: list[str] = []
    _write_short(tree, out)
    return "".join(out).strip()


def styles_of(text: str) -> list[Style]:
    """Return the styles in which ``text`` may have been written."""
    if text[:1] not in "[{":
        return []
    end = text[len(text.rstrip()) :]
    line = re.search(r"\n([ \t]+)\S", text)
    indent = line[1] if line else None
    items = (",",) if line else (", ", ",")
    sign = _KEY_SIGN.search(text)
    styles = [Style(indent, item, key, end) for item in items for key in (": ", ":")]
    element = _ELEMENT.match(text)
    if element is not None:
        last = _LAST.search(text)
        around = (element[1], element[2], last[1] if last else "")
        signs = ((", ", ": "), (",", ":"), (",", ": "))
        styles = [Style(None, item, key, end, around) for item, key in signs] + styles
    return [style for style in styles if sign is None or sign[1] == style.key]


def style_of(text: str, tree: Any) -> Style | None:
    """Return the style that gives exactly ``text`` again; None where none does."""
    for style in styles_of(text):
        if written(tree, style) + style.end == text:
            return style
    return None


def written(tree: Any, style: Style) -> str:
    """Return the tree as JSON in ``style``, without what stands at its end."""
    out: list[str] = []
    if style.elements is None or not isinstance(tree, list) or not tree:
        _write(tree, style, "", out)
        return "".join(out)
    before, between, behind = style.elements
    for place, item in enumerate(tree):
        out.append(between if place else f"[{before}")
        _write(item, style, "", out)
    return "".join([*out, behind, "]"])


def _write(tree: Any, style: Style, margin: str, out: list[str]) -> None:
    if isinstance(tree, str):
        out.append(tree)
        return
    is_object = isinstance(tree, Object)
    items = tree.pairs if is_object else tree
    left, right = "{}" if is_object else "[]"
    if not items:
        out.append(left + right)
        return
    inner = "" if style.indent is None else f"\n{margin}{style.indent}"
    deeper = margin + (style.indent or "")
    out.append(left)
    for place, item in enumerate(items):
        out.append((style.item if place else "") + inner)
        if is_object:
            out += [item[0], style.key]
            item = item[1]
        _write(item, style, deeper, out)
    out.append(("" if style.indent is None else f"\n{margin}") + right)


def keys_of_rows(tree: Any) -> list[str] | None:
    """Return the keys that all objects of the list have, in order; None where it is no table."""
    if not isinstance(tree, list) or len(tree) < _LEAST_ROWS:
        return None
    if not all(isinstance(row, Object) for row in tree):
        return None
    keys = [key for key, _ in tree[0].pairs]
    if not keys or any([k for k, _ in row.pairs] != keys for row in tree):
        return None
    return keys


def _write_short(tree: Any, out: list[str], depth: int = 0) -> None:
    if isinstance(tree, str):
        out.append(tree)
        return
    table = table_of(tree)
    if table is not None:
        out.append("\n" + "\n".join(table) + "\n")
        return
    is_object = isinstance(tree, Object)
    items = tree.pairs if is_object else tree
    out.append("{" if is_object else "[")
    # An element a line near the root, so that the structure is easy to see.
    between = ",\n" if depth == 0 or (depth == 1 and not is_object) else ", "
    for place, item in enumerate(items):
        if place:
            out.append(between)
        if is_object:
            out += [item[0], ": "]
            item = item[1]
        _write_short(item, out, depth + 1)
    out.append("}" if is_object else "]")


def header(count: int, keys: list[str]) -> str:
    """Return the line above a table's rows."""
    return f"[{count}]{{{','.join(keys)}}}"


def table_of(tree: Any) -> list[str] | None:
    """Return the header and the rows of a list of like objects; None where it is none."""
    names = keys_of_rows(tree)
    if names is None:
        return None
    keys = _keys_of(names, tree)
    return [header(len(tree), [key.shown for key in keys]), *(_row_of(keys, row) for row in tree)]


def _keys_of(names: list[str], rows: list[Object]) -> Keys:
    columns = zip(*([value for _, value in row.pairs] for row in rows), strict=True)
    return [_key_of(name, list(column)) for name, column in zip(names, columns, strict=True)]


def _key_of(name: str, values: list[Any]) -> Key:
    """Return the column of these values, with the keys of objects that are alike in all of it."""
    many = all(isinstance(value, list) for value in values)
    rows = [row for value in values for row in value] if many else values
    names = keys_of_rows(rows)
    return Key(name) if names is None else Key(name, _keys_of(names, rows), many)


def _row_of(keys: Keys, row: Object) -> str:
    return ",".join([_cell_of(k, value) for k, (_, value) in zip(keys, row.pairs, strict=True)])


def _cell_of(key: Key, value: Any) -> str:
    if key.inner is None:
        return flat(value)
    if key.many:
        return "[" + ",".join([f"[{_row_of(key.inner, row)}]" for row in value]) + "]"
    return f"[{_row_of(key.inner, value)}]"


def flat(value: Any) -> str:
    """Return a value in one line."""
    return value if isinstance(value, str) else written(value, FLAT)


def rows_of(tree: Any) -> tuple[list[str], list[list[str]]] | None:
    """Return keys and rows (values as spelt) of a tree that is one list of like objects."""
    keys = keys_of_rows(tree)
    if keys is None:
        return None
    return keys, [[flat(value) for _, value in row.pairs] for row in tree]
