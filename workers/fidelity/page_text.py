"""An HTML page as the text that a browser shows: words, links, lists, tables, and what is entered.

Tags, scripts, styles and the attributes that are not seen go, nothing else. Headings begin with
``#``, items with ``-``, rows of a table with ``|``; a link is ``[text](address)``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

try:
    from lxml import etree
except ImportError:  # it comes with the engines
    etree = None

_HIDDEN = frozenset({"script", "style", "template"})
_LISTS = frozenset({"ul", "ol", "menu"})
_BLOCKS = re.compile(
    r"h[1-6]|p|pre|div|br|[uod]l|menu|li|d[dt]|t(?:able|body|foot|head|itle)|html|head|body|main|nav"
    r"|header|footer|section|article|aside|address|blockquote|center|dialog|form|fieldset|legend"
    r"|label|select|option|button|textarea|fig(?:caption|ure)|details|summary|search|hr|dir|caption"
)
_SEEN = ("type", "name", "value", "placeholder", "checked", "disabled", "selected")
_STATES = ("checked", "disabled", "selected")
"""Attributes that say something without a value."""
_CONTROLS = {
    **dict.fromkeys(("input", "option"), _SEEN),
    **dict.fromkeys(("button", "select", "textarea"), _STATES),
}
"""What is said of the parts of a form."""
_BLANKS = re.compile(r"\s+")
_DEEPEST = 6
"""Lists in lists up to which items are indented."""


def text_of_page(page: str) -> str:
    """Return the text of an HTML page; empty where it shows none, or cannot be read whole."""
    if etree is None or "\0" in page:  # the parser would end there
        return ""
    reader = _Page()
    parser = etree.HTMLParser(target=reader, huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        parser.feed(page)
        parser.close()
    except (etree.XMLSyntaxError, UnicodeError):
        return ""
    return "\n".join(reader.lines).strip("\n")


class _Page:
    """Collects the lines that a page shows, as the target of lxml's parser."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._line: list[str] = []
        self._begin = ""
        """What stands before the words of the line."""
        self._hidden = self._pre = self._lists = 0
        self._link: tuple[str, int] | None = None
        """The address of the open link, and where in the line its text begins."""
        self._row: list[str] | None = None
        """The cells of a table's row."""

    def start(self, tag: str, given: Mapping[str, str]) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag == "tr":
            self._end_of_row()
            self._row = []
        elif tag in ("pre", "table"):  # lines of their own, also inside a cell
            self._end_of_row()
            self._pre += tag == "pre"
        elif _BLOCKS.fullmatch(tag):
            self._end_of_line()
        if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._begin = "#" * int(tag[1]) + " "
        elif tag == "li":
            self._begin = "  " * min(self._lists - 1, _DEEPEST) + "- "
        elif tag in _LISTS:
            self._lists += 1
        elif tag == "a":
            self._link = given.get("href", ""), len(self._line)
        elif tag == "img":
            self._line.append(f"![{given.get('alt', '')}]({_address(given.get('src', ''))})")
        elif tag in _CONTROLS:
            said = [name for name in _CONTROLS[tag] if name in given]
            if any(given[name] or name in _STATES for name in said):
                seen = " ".join(f"{name}={given[name]}".rstrip("=") for name in said)
                self._line.append(f" [{seen}] ")

    def end(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "a":
            self._end_of_link()
        elif tag in ("td", "th") and self._row is not None:
            self._row.append(self._words())
        elif tag in ("tr", "table"):
            self._end_of_row()
        elif _BLOCKS.fullmatch(tag):
            self._end_of_line()
        if tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif tag in _LISTS:
            self._lists = max(0, self._lists - 1)

    def data(self, data: str) -> None:
        if self._hidden:
            return
        if not self._pre:
            self._line.append(_BLANKS.sub(" ", data))
            return
        first, *others = data.split("\n")
        self._line.append(first)
        for line in others:
            self._end_of_line()
            self._line.append(line)

    def close(self) -> None:
        self._end_of_row()

    def _end_of_row(self) -> None:
        cells, self._row = self._row, None
        if cells is None:
            self._end_of_line()
            return
        cells += [rest] if (rest := self._words()) else []
        if cells:
            self.lines.append(f"| {' | '.join(cells)} |")

    def _end_of_line(self) -> None:
        if self._row is not None:
            self._line.append(" ")
            return
        line = self._taken().rstrip() if self._pre else self._words()
        if line or self._pre:
            self.lines += (
                ["", self._begin + line] if self._begin[:1] == "#" else [self._begin + line]
            )
            self._begin = ""

    def _words(self) -> str:
        return _BLANKS.sub(" ", self._taken()).strip()

    def _taken(self) -> str:
        """Return the line as it is, and begin another."""
        line, self._line = "".join(self._line), []
        if self._link is not None:
            self._link = self._link[0], 0
        return line

    def _end_of_link(self) -> None:
        (address, start), self._link = self._link or ("", 0), None
        if not address.startswith(("#", "javascript:")) and address:
            text = "".join(self._line[start:])
            self._line[start:] = [f"[{text.strip()}]({_address(address)})"]


def _address(address: str) -> str:
    """Return an address; of one that holds the data itself only its type."""
    return address.split(",", 1)[0] if address.startswith("data:") else address
