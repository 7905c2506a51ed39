"""JSON values that stand among other lines, in fewer characters, and back.

The body of an answer below its headers (``curl -i``), objects that ``jq`` prints one after the
other, the elements of a list of which head or tail is cut off: whatever begins and ends with a
line becomes as short as a text that is nothing but JSON does, and the other lines stay.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import omission_notes as notes
from .json_form import Reader, Style, parsed, short, style_of, written
from .reversible import ReversibleForm
from .token_alignment import cost

_LEAST_SIZE = 200
"""Characters of values in a row from which on they are worth a note."""
_LEAST_SAVED = 60
_LEAST_SHARE = 0.15
_MOST_READ = 3
"""Times the text's characters that are read: values that do not end as they begin are read again
from each line inside them."""
_CLOSING = {"{": "}", "[": "]"}
_MANY = re.compile(r"\d+ values (with|without) commas between them as one list, ")
_END = "[... the JSON ends here; what follows it is not omitted ...]"
_COMMA = "[... the JSON ends here, with a comma; what follows it is not omitted ...]"


class _Value(NamedTuple):
    """A value of which the lines up to ``end`` are, behind the same ``margin``."""

    tree: Any
    style: Style
    margin: str
    comma: bool
    end: int


def shortened_parts(text: str) -> ReversibleForm | None:
    """Return ``text`` with each JSON value in it that is worth it in fewer characters."""
    lines = text.split("\n")
    found = _Finder(lines)
    out: list[str] = []
    styles: list[tuple[Style, str]] = []
    at = 0
    while at < len(lines):
        values = found.run(at)
        shown = _shown(values) if values else []
        end = values[-1].end if values else at + 1
        if not shown or not _pays(lines[at:end], shown):
            out += lines[at:end]
        else:
            styles.append((values[0].style, values[0].margin))
            out += shown
            if end < len(lines) or values[-1].comma:
                out.append(_COMMA if values[-1].comma else _END)
        at = end
    made = "\n".join(out)
    return ReversibleForm(made, _inverse(styles), "farm_json") if cost(made) < cost(text) else None


class _Finder:
    """Finds values that begin and end with a line."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._left = _MOST_READ * (sum(map(len, lines)) + len(lines))
        self._ends: dict[str, list[int]] = defaultdict(list)
        """The places of the lines that are nothing but a margin and a closing bracket."""
        for place, line in enumerate(lines):
            bare = line.removesuffix(",")
            if bare[-1:] in ("}", "]") and not bare[:-1].strip(" \t"):
                self._ends[bare].append(place)

    def run(self, at: int) -> list[_Value]:
        """Return the values from line ``at`` on."""
        found: list[_Value] = []
        while at < len(self._lines):
            value = self._value(at)
            if value is None or (found and not _goes_on(found, value)):
                break
            found.append(value)
            at = value.end
        return found

    def _value(self, at: int) -> _Value | None:
        line = self._lines[at]
        bare = line.lstrip(" \t")
        closing = _CLOSING.get(bare[:1])
        if closing is None:
            return None
        margin = line[: len(line) - len(bare)]
        return next(
            (v for end in self._last_lines(at, margin + closing) if (v := self._read(at, end))),
            None,
        )

    def _last_lines(self, at: int, closing: str) -> Iterator[int]:
        """Return the lines with which a value may end: its own, or the next one that closes it."""
        if self._lines[at].rstrip(",")[-1:] in ("}", "]"):
            yield at
        places = self._ends.get(closing, [])
        below = bisect_left(places, at + 1)
        if below < len(places):
            yield places[below]

    def _read(self, at: int, last: int) -> _Value | None:
        lines = self._lines[at : last + 1]
        size = sum(map(len, lines)) + len(lines)
        if size > self._left:
            return None
        self._left -= size
        comma = lines[-1].endswith(",")
        margin = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))]
        if not all(line.startswith(margin) for line in lines):
            return None
        text = "\n".join(line[len(margin) :] for line in lines).removesuffix(",")
        tree = parsed(text)
        style = style_of(text, tree) if tree else None
        if style is None or style.end:
            return None
        return _Value(tree, style, margin, comma, last + 1)


def _goes_on(found: list[_Value], value: _Value) -> bool:
    """Return whether ``value`` is one more of these: no comma where they have none."""
    last = found[-1]
    same = (value.style, value.margin) == (last.style, last.margin)
    return same and last.comma == found[0].comma and (last.comma or not value.comma)


def _shown(values: list[_Value]) -> list[str]:
    """Return the note and the values in fewer characters."""
    trees = [value.tree for value in values]
    sign = "with" if values[0].comma else "without"
    many = f"{len(trees)} values {sign} commas between them as one list, " if trees[1:] else ""
    note = notes.fewer(many + values[0].style.named())
    return [note, *short(trees if many else trees[0]).split("\n")]


def _pays(lines: list[str], shown: list[str]) -> bool:
    size = sum(map(cost, lines)) + len(lines)
    saved = size - sum(map(cost, shown)) - len(shown) - len(_END)
    return size >= _LEAST_SIZE and saved >= max(_LEAST_SAVED, _LEAST_SHARE * size)


def _inverse(styles: list[tuple[Style, str]]) -> Callable[[str], str]:
    """Return the way back; ``styles`` are those of the runs, each with its margin."""

    def restored(result: str) -> str:
        left = iter(styles)
        lines = iter(result.split("\n"))
        out: list[str] = []
        for line in lines:
            note = notes.FORMAT.fullmatch(line)
            if note is None:
                out.append(line)
                continue
            style, margin = next(left)
            tree, comma = _read(lines)
            many = _MANY.match(note[1])
            between = "," if many is not None and many[1] == "with" else ""
            printed = [_printed(one, style, margin) for one in (tree if many else [tree])]
            out += [one + between for one in printed[:-1]]
            out.append(printed[-1] + ("," if comma else ""))
        return "\n".join(out)

    return restored


def _read(lines: Iterator[str]) -> tuple[Any, bool]:
    """Return the value below a note, and whether a comma follows it."""
    inside: list[str] = []
    for line in lines:
        if line in (_END, _COMMA):
            return Reader("\n".join(inside)).read(), line == _COMMA
        inside.append(line)
    return Reader("\n".join(inside)).read(), False


def _printed(tree: Any, style: Style, margin: str) -> str:
    """Return a value as it was printed."""
    return "\n".join(margin + line for line in written(tree, style).split("\n"))
