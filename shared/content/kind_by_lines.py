"""Classifies a text by its content: which share of its lines looks like code, a log, a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from .kind_by_family import family_of
from .kind_by_name import Kind
from .redrawn_lines import in_states

_HEAD, _MIDDLE, _END = 30, 12, 12
"""Number of lines examined at the start, in the middle and at the end."""
_WINDOWS, _ENOUGH_WINDOWS = 5, 2
"""Parts of a text that does not look like anything, each of twice as many lines as its middle."""
_LONGEST = 120
"""Characters of a line that are examined."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*[mK]")
_Share = Callable[[re.Pattern[str]], float]


class Shape(NamedTuple):
    """What a text looks like; ``sure`` means that it may override what the command suggests."""

    kind: Kind
    sure: bool
    evidence: str


_NUMBERED = re.compile(
    r"\s*\d+(?:\t|→|: |\| )|\^?[0-9a-f]{7,40} .{0,80}\d{4}-\d\d-\d\d .{0,30}\d+\) ?"
)
"""A prefix of a line: its number, or the columns of ``git blame``."""
_NUMBER = re.compile(r"\s*(\d+)(?: ?\| ?|:)")
"""A line's number as other clients write it; matches of a search and tables look like it, too."""
_LOG = re.compile(
    r"\W{0,3}(?:\d{4}[-/.]\d\d[-/.]\d\d[T ,]+\d\d:\d\d"
    r"|\d\d-\d\d \d\d:\d\d:\d\d\.\d|\d\d[-/.]\d\d[-/.]\d\d(?:\d\d)?[ T]\d\d:\d\d"
    r"|(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d\d:\d\d:\d\d[.,\s]"
    r"|[IWEF]\d{4} \d\d:\d\d|\[ *\d+\.\d{3,}\]|\d{10,13}(?:\.\d+)? "
    r"|(?:\d{1,3}\.){3}\d{1,3} \S+ \S+ \["
    r"|\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL|SEVERE)\b)"
    r"|(?:time|ts|level|lvl)=|(?:[\w.-]+ +\| )?\d{4}-\d\d-\d\d[T ]"
)
_CODE = re.compile(
    r"\s*(?:(?:async )?def \w+.*:?$|class \w+[^ ]*[:({]?|from [\w.]+ import |import [\w.{*\"']"
    r"|(?:if|elif|while|for|with|except|else|try|finally|match|case)\b.*:$"
    r"|return\b|raise \w|yield\b|assert |pass$|break;?$|continue;?$|await "
    r"|(?:export |public |private |protected |static |async |pub |final |abstract |override )*"
    r"(?:function|fn|func|class|interface|struct|enum|impl|trait|type|const|let|var|val|namespace"
    r"|module|package|use|using|mod|def|void|int|bool|string|defmodule|defp?)\b"
    r"|#include|#define|#if|#endif|#pragma|@\w+(?:\(.*\))?$|//|/\*|\*/|\* |\"\"\"|'''"
    r"|[\w.\[\]\"'*&:<>, ]+ (?:=|:=|\+=|-=|\|=) \S|self\.\w|this\.\w|[\w.:>-]+\(.*\)[;,]?$"
    r"|(?:\}|\)|\]|end)[;,)\]}]*$|.*[;{]$|(?:if|for|while|switch|elsif|unless|else|elif) ?[\[(]"
    r"|#!|fi$|done$|esac$|then$|\$\w+ = )"
)
_STRONG_CODE = re.compile(
    r"\s*(?:(?:async )?def \w+\(|class \w+[^ ]*(?:[:({]| extends)|from [\w.]+ import |#include"
    r"|(?:if|elif|while|for|with|except) .*:$|(?:else|try|finally):$|return\b.*[;)\w\]]$|raise \w"
    r"|(?:export |pub |async |public |private |static )+\w|(?:const|let|var) \w+ ?=|fn \w+|func "
    r"|function \w*\(|\}$|\};$|\} else|import .* from |package \w+;?$|#!/|.*\) \{$|.*\);$|@\w+"
    r"|fi$|done$|esac$|if \[|use \w+::|defmodule |namespace |end$)"
)
_BEGUN = re.compile(
    r"from [\w.]+ import \w|import [\w.]+$|import .* from [\"']|package [\w.]+;?$|#include [<\"]"
    r"|use \w+::|export (?:const|function|class|default) |(?:async )?def \w+\(.*:$|<\?php"
)
"""What no text but a program has among its first lines."""
# "#7 0.62 ..." is no comment but a line of a container's build.
_YAML = re.compile(r"\s*(?:- )*(?:[\w.$/@\"'<-][\w .$/@\"'<>*-]*:(?:\s|$)|- \S|#(?!\d+ )|\{\{-?)")
_KEY = re.compile(r"[\w.$/-]+:(?=\s|$)")
_INI = re.compile(
    r"\s*(?:\[\[?[\w .:\"'/@*-]+\]\]?\s*$|(?:export )?(?:[\w.\-/]|\\ )+\s*=|#(?!\d+ )|;|\$"
    r"|\"?[\w.-]+\"? = )"
)
_DOCKER = re.compile(
    r"(?:FROM|RUN|COPY|ADD|ENV|ARG|WORKDIR|EXPOSE|CMD|ENTRYPOINT|USER|LABEL|VOLUME|HEALTHCHECK) "
)
_HCL = re.compile(r"\s*(?:\w+(?: \"[^\"]*\")* \{$|\}$|\w+\s+= |\w+ ?= ?[\[{]$|\]$|#)")
_HCL_HEAD = re.compile(r"(?:resource|variable|module|provider|data|output|locals|terraform)\b.*\{$")
_SQL_HEAD = re.compile(
    r"\s*(?:CREATE (?:OR REPLACE )?(?:TABLE|VIEW|INDEX|FUNCTION|TYPE|SCHEMA)|INSERT INTO"
    r"|ALTER TABLE|UPDATE \w+ SET|DELETE FROM|DROP TABLE|SELECT\b)", re.I
)  # fmt: skip
_SQL = re.compile(
    r"\s*(?:(?:CREATE|SELECT|INSERT|ALTER|UPDATE|DELETE|DROP|GRANT|COMMENT ON|FROM|WHERE|JOIN|SET"
    r"|LEFT JOIN|INNER JOIN|GROUP BY|ORDER BY|VALUES|BEGIN|COMMIT|WITH \w+ AS|PRIMARY KEY"
    r"|CONSTRAINT|REFERENCES|FOREIGN KEY)\b|-- |\)?;$"
    r"|\w+ (?:big)?(?:int|text|varchar|serial|bool|numeric"
    r"|timestamp|uuid|jsonb?|date)\w*\b)", re.I
)  # fmt: skip
_SEARCH = re.compile(
    r"(?:\./|/)?(?:[\w.@+\-/\\]| (?! ))*[\w@+\-/\\]\.?[\w]*[:-]\d+[:-]"
    r"|[\w.@/+-]+/[\w.@/+-]+:\S?|--$"
)
_HIT = re.compile(r"[^\s:]+(?: [^\s:]+)*:")
"""A match itself, not a line around one: something stands before a colon."""
_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@|diff --git |--- a/|\+\+\+ b/")
_TEST = re.compile(
    r"\s*(?:[✓✔✗✘×❯√●]|(?:PASS|FAIL|ok|not ok|--- FAIL|--- PASS|=== RUN)\b.*[:/\s]"
    r"|\S+::\S+ (?:PASSED|FAILED|ERROR|SKIPPED)|test \S+ \.\.\. (?:ok|FAILED|ignored)"
    r"|\S+\.py [.FEsx]+ +\[ *\d+%\]|\[(?:INFO|ERROR)\] Tests run:)"
)
_TOTALS = re.compile(
    r"(?:=+ .*\d+ (?:passed|failed|error).*=+|Tests?:? +.*\d+ (?:passed|failed)|test result: "
    r"|Tests run: \d+|Ran \d+ tests? in|\d+ (?:passing|failing)|\d+ examples?, \d+ failures?)"
)
_HEADING = re.compile(r"#{1,6} \S|={3,}\s*$|-{3,}\s*$")
_ITEM = re.compile(r"\s*(?:[-*+] |\d+[.)] )\S")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_TRACE = re.compile(
    r"Traceback \(most recent call last\)|\s+at [\w.$<>/]+\(|  File \".*\", line \d+|panic: "
    r"|goroutine \d+ \[|Caused by: |\s+\.\.\. \d+ more|\w+(?:Error|Exception)\b.*:"
    r"|error(?:\[E\d+\])?: "
    r"|\S+:\d+:\d+: (?:error|warning|fatal error)|thread '.*' panicked"
    r"|\S+\(\d+,\d+\): (?:error|warning) |\s+\d+:\d+ +(?:error|warning) "
)
_DRAWN = re.compile(r"\s*[+├┌└╞╭╰╔╠╚][-=+─━┬┼┴═╪╤╧╦╬╩]{3,}[+┤┐┘╡╮╯╗╣╝]?\s*$")
"""A rule between the rows of a drawn table; those of Markdown begin with a bar."""
_COLUMNS = re.compile(r"\S {2,}\S.*\S {2,}\S|\S\t\S|\S +\| +\S")
_MODE = re.compile(r"[-dlcbps][rwxsStT-]{9}[.+@]? ")
_COMMIT = re.compile(r"[*|\\/ ]*[0-9a-f]{7,40} \S|commit [0-9a-f]{40}")
_PATHS = re.compile(r"[\w.@~+\-/\\ ├└│─]*[/.][\w.@~+\-/ ]*$")
_HTML = re.compile(r"\s*(?:<!doctype html|<html[\s>]|<head[\s>]|<body[\s>])", re.I)
_XML = re.compile(r"\s*<\?xml|\s*</?[\w:.-]+(?:\s+[\w:.@#-]+=|>)")
_SUITE = re.compile(r"\s*<(?:testsuites?|testcase|testng-results|assemblies)[\s>]")
_JSON = re.compile(
    r"(?!\[[ \d.]+\] [A-Za-z])"  # the seconds before a kernel's messages
    r"\s*(?:\{\s*(?:\"|\})|\[\s*(?:\{|\[|\"|-?\d[\d.eE+-]*\s*[,\]]|\]|true|false|null))"
)
_MEMBER = re.compile(r'\s*(?:[\[\]{}]+,?\s*$|"(?:[^"\\]|\\.)*"\s*[:,]|[-\d"\[{])')
_ELEMENT = re.compile(r".*\[ref=\w+\]|\s*(?:- )?uid=[\w-]+ ")
"""An element of a page as browsers' tools show it, with the name by which it is clicked."""
_RULES = re.compile(
    r"<system-reminder>|<system>|You are (?:Claude|(?:[\w,-]+ ){1,9}(?:assistant|agent)\b)"
    r"|---\nname: .*\ndescription: "
)
_SENTENCE = re.compile(r"(?:[A-Za-z][\w'’-]*[,;:]? ){5}")
_SENTENCE_IN = re.compile(rf".*?{_SENTENCE.pattern}")


def shape_of(text: str) -> Shape:
    """Return what ``text`` looks like."""
    if _RULES.match(text.lstrip()[:200]):
        return Shape("rules", True, "begins like instructions")
    if _HTML.match(text[:2000]):
        return Shape("html", True, "begins like an HTML page")
    lines = _sample(text)
    if not lines:
        return Shape("other", False, "is empty")
    if _JSON.match(text[:400]):
        end = text.rstrip()[-1:]
        if len(lines[0]) >= _LONGEST and text.find("\n") > 0.8 * len(text):
            return Shape("json", True, "is one line of JSON, followed by messages")
        if end in "]}" or sum(map(bool, map(_MEMBER.match, lines))) > 0.8 * len(lines):
            return Shape("json", True, "is JSON")
    if _mostly_json(text):
        return Shape("json", True, "is mostly one line of JSON")
    shape = _by_lines(lines)
    if shape.kind in ("other", "markdown", "prose") and any(map(_BEGUN.match, lines[:5])):
        return Shape("code", True, "begins like a program")
    return _of_windows(text) or shape if shape.kind == "other" else shape


def _mostly_json(text: str) -> bool:
    """Return whether most of ``text`` is one line of JSON, as between marks of foreign data."""
    half = len(text) // 2
    start, end = text.rfind("\n", 0, half) + 1, text.find("\n", half)
    line = text[start : end if end >= 0 else len(text)].rstrip()
    return len(line) > max(half, _LONGEST) and bool(_JSON.match(line)) and line[-1] in "]}"


def _of_windows(text: str) -> Shape | None:
    """Return that ``text`` is code or configuration where two of its parts are by themselves.

    A long list of imports or of values hides what else is there.
    """
    lines = [line[:_LONGEST] for line in text.split("\n") if line.strip()]
    if len(lines) < 2 * _WINDOWS * _MIDDLE:
        return None
    step = len(lines) // _WINDOWS
    windows = [lines[start : start + 2 * _MIDDLE] for start in range(0, step * _WINDOWS, step)]
    found = [shape for window in windows if (shape := _of_window(window)) is not None]
    return found[0] if len(found) >= _ENOUGH_WINDOWS else None


def _of_window(lines: list[str]) -> Shape | None:
    share = _share_of(lines)
    shape = _as_code(lines, share)
    if shape is not None and shape.sure:
        return shape
    if share(_CODE) >= 0.5 and share(_SENTENCE_IN) < 0.3:
        return Shape("code", True, f"{share(_CODE):.0%} of the lines of a part look like code")
    return None


def _sample(text: str) -> list[str]:
    lines = in_states(text).split("\n")
    coloured = "\x1b" in text
    if len(lines) > _HEAD + _MIDDLE + _END:
        half = len(lines) // 2
        lines = lines[:_HEAD] + lines[half : half + _MIDDLE] + lines[-_END:]
    if coloured:
        lines = [_COLOUR.sub("", line) for line in lines]
    shown = [line[:_LONGEST] for line in lines if line.strip()]
    for number in (_NUMBERED, _NUMBER):
        numbered = [m for line in shown if (m := number.match(line))]
        if len(numbered) > 0.9 * len(shown) and (number is _NUMBERED or _count_on(numbered)):
            stripped = [number.sub("", line, count=1) for line in shown]
            return [line for line in stripped if line.strip()]
    return shown


def _count_on(numbered: list[re.Match[str]]) -> bool:
    """Return whether the numbers of nearly all lines are by one larger than the line's before."""
    numbers = [int(m[1]) for m in numbered]
    following = sum(1 for before, after in pairwise(numbers) if after - before in (1, 2))
    return following > 0.8 * (len(numbers) - 1)


def _by_lines(lines: list[str]) -> Shape:
    """Classify by shares of lines; kinds that may not lose anything are tried first."""
    count = len(lines)
    share = _share_of(lines)

    def told(kind: Kind, sure: bool, part: float, what: str) -> Shape:
        return Shape(kind, sure, f"{part:.0%} of its lines look like {what}")

    hunks = sum(1 for line in lines if _HUNK.match(line))
    if hunks >= 2 or (hunks and lines[0].startswith(("diff ", "--- ", "@@ "))):
        return Shape("diff", True, "has the headers of a diff")
    if share(_ELEMENT) >= 0.2:
        return Shape("config", True, "is a page's tree of elements")
    logged, searched = share(_LOG), share(_SEARCH)
    if logged >= 0.5:
        return told("log", True, logged, "log entries")
    tested = share(_TEST)
    if any(_TOTALS.search(line) for line in lines) and (tested >= 0.05 or count > 5):
        return Shape("test_run", False, "has the totals of a test run")
    if searched >= 0.6 and any(_HIT.match(line) for line in lines):
        return told("search", False, searched, "matches of a search")
    if any(_HEADING.match(line) for line in lines) and any(_FENCE.match(line) for line in lines):
        return Shape("markdown", False, "has headings and fenced blocks")
    listed = max(share(_MODE), share(_COMMIT))
    if listed >= 0.6:
        return told("listing", False, listed, "entries of a listing")
    code = _as_code(lines, share)
    if code is not None:
        return code
    traced = share(_TRACE)
    if traced >= 0.3:
        return told("error", False, traced, "a stack trace or compiler errors")
    return _as_text(lines, share, logged)


def _share_of(lines: list[str]) -> _Share:
    return lambda pattern: sum(1 for line in lines if pattern.match(line)) / len(lines)


def _as_code(lines: list[str], share: _Share) -> Shape | None:
    coded, strong = share(_CODE), share(_STRONG_CODE)
    prose = sum(1 for line in lines if _SENTENCE.search(line)) / len(lines)
    headed = share(_HEADING) + share(_ITEM)
    if lines[0].startswith("#!") or (coded >= 0.45 and strong >= 0.12 and strong > prose / 4):
        return Shape("code", True, f"{coded:.0%} of its lines look like code")
    if share(_DOCKER) >= 0.25 and share(_DOCKER) * len(lines) >= 3:
        return Shape("config", True, "has the instructions of a Dockerfile")
    if any(_HCL_HEAD.match(line) for line in lines) and share(_HCL) >= 0.6:
        return Shape("config", True, "looks like HCL")
    if share(_SQL) >= 0.6 and share(_SQL_HEAD) * len(lines) >= 2:
        return Shape("code", True, f"{share(_SQL):.0%} of its lines look like SQL")
    yaml, ini = share(_YAML), share(_INI)
    indented = sum(1 for line in lines if line[:1] == " ") / len(lines)
    keyed = sum(1 for line in lines if re.match(r"\s*(?:- )*[\w.$/-]+:(?:\s|$)", line)) / len(lines)
    if yaml >= 0.75 and keyed >= 0.35 and headed < 0.35 + keyed / 4 and not _say_again(lines):
        if prose >= 0.8:
            return Shape("other", False, "has a sentence behind each key, as messages have")
        return Shape("config", indented > 0.2, f"{yaml:.0%} of its lines look like YAML")
    if ini >= 0.8 and prose < 0.5 and any("=" in line for line in lines):
        return Shape("config", True, f"{ini:.0%} of its lines look like settings")
    if share(_XML) >= 0.7:
        if any(_SUITE.match(line) for line in lines):
            return Shape("test_run", True, "is a report of tests in XML")
        return Shape("config", True, "looks like XML")
    if strong >= 0.25 and prose < 0.4:
        return Shape("code", True, f"{strong:.0%} of its lines look like a program's")
    family = family_of(lines)
    return Shape(family[0], True, f"looks like {family[1]}") if family is not None else None


def _say_again(lines: list[str]) -> bool:
    """Return whether lines that are not indented begin with few keys that come again and again.

    In YAML each comes once a document: ``ok: [web-1]`` is what became of a task.
    """
    found = Counter(m[0] for line in lines if (m := _KEY.match(line)))
    return sum(found.values()) - len(found) > 0.3 * len(lines) and "---" not in lines


def _as_text(lines: list[str], share: _Share, logged: float) -> Shape:
    prose = sum(1 for line in lines if _SENTENCE.search(line)) / len(lines)
    headings = sum(1 for line in lines if _HEADING.match(line))
    piped = sum(1 for line in lines if line.count("|") >= 3) / len(lines)
    if piped >= 0.3 and piped + share(_DRAWN) >= 0.6 and share(_DRAWN) > 0:
        return Shape("table", False, "is a drawn table")
    if headings and (prose >= 0.2 or share(_ITEM) >= 0.2 or piped > 0):
        return Shape("markdown", False, "has headings, lists or prose")
    if logged >= 0.25:
        return Shape("log", False, f"{logged:.0%} of its lines look like log entries")
    if piped >= 0.6 or sum(1 for x in lines if _COLUMNS.search(x)) >= 0.6 * len(lines):
        return Shape("table", False, "has columns")
    if prose >= 0.4:
        return Shape("prose", False, f"{prose:.0%} of its lines are sentences")
    if share(_PATHS) >= 0.7:
        return Shape("listing", False, f"{share(_PATHS):.0%} of its lines are paths")
    return Shape("other", False, "does not look like a known kind")
