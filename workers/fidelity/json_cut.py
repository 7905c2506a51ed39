"""JSON of which the end is cut off, or that something else follows, in fewer characters.

``head -c``, a page of a log, a broken pipe: what is whole of it becomes as short as whole JSON
does, and the rest stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import omission_notes as notes
from .json_form import TOKEN, TOKENS, Object, Reader, Style, short, styles_of, written
from .reversible import ReversibleForm

_LEAST_WHOLE = 0.6
"""The share of a text that must be whole elements."""
_CUT = re.compile(r"\n\[\.\.\. the JSON ends here[^;]*; what follows it is not omitted \.\.\.\]\n")


class _CutReader(Reader):
    """Reads the whole elements of JSON whose end is missing; ``open`` are the brackets missing."""

    def __init__(self, text: str) -> None:
        self._tokens = TOKEN.findall(text)
        self._at = 0
        self.open: list[tuple[str, int]] = []
        """The innermost first, each with its depth."""

    def first(self) -> Any:
        """Return the value that the text begins with."""
        return self._value(0)

    def _object(self, depth: int) -> Object:
        found = Object([])
        try:
            if self._tokens[self._at] == "}":
                self._at += 1
                return found
            mark = ","
            while mark == ",":
                key = self._next()
                self._expect(":")
                value = self._value(depth + 1)
                if self.open and not value:
                    self.open.clear()
                    raise IndexError
                found.pairs.append((key, value))
                mark = self._next()
            if mark != "}":
                raise ValueError("no end of an object")
        except IndexError:
            self.open.append(("}", depth))
            if found.pairs and _may_go_on(found.pairs[-1][1]):
                found.pairs.pop()
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        try:
            if self._tokens[self._at] == "]":
                self._at += 1
                return found
            mark = ","
            while mark == ",":
                value = self._value(depth + 1)
                if self.open and (not value or isinstance(value, Object)):
                    self.open.clear()  # half an object would be a row without its last cells
                    raise IndexError
                found.append(value)
                mark = self._next()
            if mark != "]":
                raise ValueError("no end of a list")
        except IndexError:
            self.open.append(("]", depth))
            if found and _may_go_on(found[-1]):
                found.pop()
        return found


def _may_go_on(value: Any) -> bool:
    """Return whether more digits might have followed."""
    return isinstance(value, str) and value[:1] not in '"tfnNI'


def shortened_cut(text: str) -> ReversibleForm | None:
    """Return ``text`` with the JSON that it begins with in fewer characters."""
    found = TOKENS.match(text)
    if text[:1] not in "[{" or found is None:
        return None
    reader = _CutReader(found[0])
    try:
        tree = reader.first()
    except (ValueError, IndexError):
        return None
    if isinstance(tree, str) or not tree:
        return None
    for style in styles_of(text):
        tail = _brackets(reader.open, style)
        whole = written(tree, style).removesuffix(tail)
        if text.startswith(whole) and len(whole) >= _LEAST_WHOLE * len(text):
            return _form(text, tree, style, tail, len(whole))
    return None


def _brackets(missing: list[tuple[str, int]], style: Style) -> str:
    """Return the end of JSON that is missing."""
    if style.elements is not None and missing:
        *inner, _ = missing  # the outermost list is the last that is missing
        return "".join(mark for mark, _ in inner) + style.elements[2] + "]"
    breaks = "" if style.indent is None else "\n"
    return "".join(f"{breaks}{(style.indent or '') * depth}{mark}" for mark, depth in missing)


def _form(text: str, tree: Any, style: Style, tail: str, size: int) -> ReversibleForm | None:
    """Return the form of ``text`` of which ``tree``, without ``tail``, is the first ``size``."""
    count = len("".join(tail.split()))
    brackets = "bracket" if count == 1 else f"{count} brackets"
    without = f" without its last {brackets}" if count else ""
    note = notes.fewer(style.named())
    cut = f"[... the JSON ends here{without}; what follows it is not omitted ...]"
    made = f"{note}\n{short(tree)}\n{cut}\n{text[size:]}"
    return (
        ReversibleForm(made, _inverse(style, tail), "farm_json") if len(made) < len(text) else None
    )


def _inverse(style: Style, tail: str) -> Callable[[str], str]:
    def restored(result: str) -> str:
        head, body = result.split("\n", 1)
        cut = _CUT.search(body)
        if notes.FORMAT.fullmatch(head) is None or cut is None:
            raise ValueError("no note")
        whole = written(Reader(body[: cut.start()]).read(), style)
        return whole.removesuffix(tail) + body[cut.end() :]

    return restored
