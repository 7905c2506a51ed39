"""Recognises languages that do not look like most others by how many lines are typical of them.

Of each family all lines are typical to some degree, and some say it beyond doubt: a program's
output may have lines of the first sort, hardly of the second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .kind_by_name import Kind


class _Family(NamedTuple):
    """``typical`` matches at least ``share`` of the lines, ``sure`` at least ``least`` of them."""

    kind: Kind
    name: str
    share: float
    typical: re.Pattern[str]
    least: float
    sure: re.Pattern[str]


_BLOCK_WORDS = (
    "subroutine|function|program|module|procedure|process|if|do|loop|sub|class|case|select"
    "|record|package|entity|architecture|evaluate|perform"
)
_FAMILIES = (
    _Family(
        "code", "a functional language", 0.6,
        re.compile(
            r"\s*(?:[\w'()]+ ::? .|\| [^|]*$|let (?:rec )?[\w(]|(?:data|type|newtype|class"
            r"|instance|deriving|module|open|import|and)\b|[\w'(), ]+ <- |\(\*|\{-|-- "
            r"|.*\b(?:in|where|do|of|with|then|else|function)$"
            r"|.*[\w')\]}\"] (?:->|=|>>=|\|>)(?: |$))"
        ), 0.1,
        re.compile(
            r"\s*(?:[a-z_][\w']* :: .*(?:->|[A-Z])|let (?:rec )?[a-z_]\w*.*=$|let .* = function$"
            r"|(?:data|newtype|type) [A-Z]\w* .*=|.*\bmatch .* with$|.*\bcase .* of$"
            r"|module [A-Z][\w.]* (?:where|exposing|\()|import (?:qualified )?[A-Z][\w.]*)"
        ),
    ),
    _Family(
        "code", "Lisp", 0.8, re.compile(r"\s*(?:[(;:\"\[]|.*[)\]]$)"), 0.08,
        re.compile(
            r"\s*\((?:def[\w*-]*|ns|define\S*|module|require|let\*?|setq|use-package|fn|lambda"
            r"|defun) "
        ),
    ),
    _Family(
        "code", "an assembler", 0.8,
        re.compile(
            r"\s*(?:[\w.$]+:\s*(?:[;#].*)?$|[a-z]{1,8}(?:\.\w+)?(?:\s+[^\s,]+(?:,\s*[^,]+)*)?$"
            r"|\.\w+(?:\s|$)|[;#@]|//)"
        ), 0.3,
        re.compile(
            r"\s+(?:push|pop|mov|lea|add|sub|cmp|test|xor|and|j[a-z]{1,3}|call|ret|nop|i?mul|shl|shr"
            r"|ldr|str|stp|ldp|bl?|cbn?z|adrp?)[lqwbs]?(?:\s+[^\s,]+(?:,\s*[^,]+)*)?$"
        ),
    ),
    _Family(
        "code", "clauses", 0.8,
        re.compile(r".*(?:->|:-|-->|[,;.({\[|])$|\s*(?:%|end|-\w+\()"), 0.08,
        re.compile(
            r"[a-z]\w*(?:\(.*\))?(?: when .*)? (?:->|:-|-->)$|-(?:module|export|spec|record)\("
        ),
    ),
    _Family(
        "code", "a language of words", 0.5,
        re.compile(
            rf"(?i)\s*(?:(?:end[ -]?)?(?:{_BLOCK_WORDS})\b|begin$|(?:integer|real|logical"
            r"|character"
            r"|call|use|return|stop|move|display|compute|dim|else|elsif|signal|variable|constant)\b"
            r"|[\w%().']+ *(?::=|<=|=) |[!*]|--|[A-Z0-9-]+\.$|.*;$)"
        ), 0.1,
        re.compile(
            rf"(?i)\s*(?:end[ -](?:{_BLOCK_WORDS})\b"
            r"|(?:subroutine|entity|architecture|process) ?[\w(]"
            r"|begin$|implicit none|(?:identification|procedure|data|environment) division)"
        ),
    ),
    _Family(
        "code", "a batch file", 0.7,
        re.compile(
            r"(?i)\s*(?:@?(?:rem|set|goto|call|if|for|echo|setlocal|endlocal|exit|copy|del)\b|[:()])"
        ), 0.1,
        re.compile(
            r"(?i)\s*(?:goto :?\w|:\w+$|if (?:not )?(?:exist|defined|errorlevel|\"?%)|@?echo off$"
            r"|set (?:/\w )?\"?\w+=)"
        ),
    ),
    _Family(
        "code", "TeX", 0.25, re.compile(r"\s*(?:\\[A-Za-z@]+|%)"), 0.05,
        re.compile(
            r"\s*\\(?:begin|end|(?:sub)*section|chapter|usepackage|documentclass|newcommand)\*?[{\[]"
        ),
    ),
    _Family(
        "code", "a template", 0.8,
        re.compile(
            r"\s*(?:</?[A-Za-z][\w.:-]*(?:[\s>/]|$)|<!--|\{[{%#/:@]|.*(?:[;{}>,(\[]|-->)$|[\w:@.-]+=[\"'{])"
        ), 0.08,
        re.compile(
            r"\s*(?:\{(?:[#/:@]\w|%)|<(?:script|style|template)\b|\{\{"
            r"|<[\w.]+ .*(?:=\{|[@:]\w+=|v-\w+)|.*\{\{.*\}\})"
        ),
    ),
    _Family(
        "code", "calls and members", 0.9, re.compile(r".*[,(){}\[\]]$|\s*(?:#|//|/\*)"), 0.1,
        re.compile(r"[a-z]\w*\($|\s*// "),
    ),
    _Family(
        "config", "directives", 0.9, re.compile(r"\s*(?:[A-Z][A-Za-z]+ \S|</?[A-Z]|#|EndSection$)"),
        0.08,
        re.compile(r"\s*</[A-Z][A-Za-z]+>$|(?:Host|Match) \S+|Section \"|EndSection$"),
    ),
    _Family(
        "config", "sections of a proxy", 0.9,
        re.compile(r"\s+[a-z][\w.-]+ \S|\s*#|(?:frontend|backend|listen) \S|(?:global|defaults)$"),
        0.08, re.compile(r"(?:frontend|backend|listen) \S+$|(?:global|defaults)$"),
    ),
    _Family(
        "config", "a crontab", 0.9,
        re.compile(r"(?:[\d*][\d*/,-]*\s+){4}[\w*][\w*/,-]*\s+\S|#|\w+ ?=|@\w+\s"), 0.5,
        re.compile(r"(?=[\d/,\s-]*\*)(?:[\d*][\d*/,-]*\s+){4}[\w*][\w*/,-]*\s+\S"),
    ),
    _Family(
        "config", "rules of a firewall", 0.9,
        re.compile(r"-[AIPN] \w|:\w+ \w+ \[|\*\w+$|COMMIT$|#"), 0.5, re.compile(r"-[AIPN] \w+"),
    ),
    _Family(
        "config", "a zone", 0.9,
        re.compile(
            r"\S*\s+(?:\w+\s+)?IN\s+[A-Z]+\s+\S|;|\$(?:TTL|ORIGIN)\b|\S*\s+[A-Z]+\s+\S|\s+\d"
        ), 0.3,
        re.compile(
            r"\S*\s+(?:\w+\s+)?IN\s+(?:A|AAAA|CNAME|MX|TXT|NS|SOA|SRV|PTR|CAA)\s+\S"
        ),
    ),
    _Family(
        "config", "translations", 0.9, re.compile(r"msg(?:id|str|ctxt)|#|\""), 0.2,
        re.compile(r"msg(?:id|str)(?:_plural|\[\d\])? \""),
    ),
)  # fmt: skip


def family_of(lines: Sequence[str]) -> tuple[Kind, str] | None:
    """Return the kind of a text of these lines and the family's name; None if it is of none."""
    for family in _FAMILIES:
        sure = sum(1 for line in lines if family.sure.match(line))
        if sure < 2 or sure < family.least * len(lines):
            continue
        if sum(1 for line in lines if family.typical.match(line)) >= family.share * len(lines):
            return family.kind, family.name
    return None
