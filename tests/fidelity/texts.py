"""Generated output of every kind, and mutations of it: the same seed gives the same text."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

_WORDS = "anchor basin copper drift ember fathom grove hollow inlet jetty kiln ledge".split()  # noqa: SIM905


def log(seed: int) -> str:
    """Return a log of a few kinds of lines with rare failures and one stack trace."""
    pick = random.Random(seed)
    lines = []
    for n in range(pick.randrange(60, 500)):
        when = f"2026-0{pick.randrange(1, 9)}-11 {n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}"
        level = pick.choices(["INFO", "DEBUG", "WARN", "ERROR"], [80, 15, 3, 2])[0]
        word = pick.choice(_WORDS)
        lines.append(f"{when} {level} {word} unit {n} took {pick.randrange(900)} ms")
    at = pick.randrange(len(lines))
    lines[at:at] = [
        "Traceback (most recent call last):",
        *[f'  File "/srv/{w}.py", line {n}, in {w}\n    {w}()' for n, w in enumerate(_WORDS)],
        f"LedgerError: {pick.choice(_WORDS)} is closed",
    ]
    return "\n".join(lines)


def one_kind(seed: int) -> str:
    """Return a log in which every line is like the others."""
    pick = random.Random(seed)
    return "\n".join(
        f"2026-03-01 {n // 60:02d}:{n % 60:02d}:00 install lib{pick.choice(_WORDS)}{n} 1.{n}.0"
        for n in range(400)
    )


def listing(seed: int) -> str:
    """Return commits, one a line."""
    pick = random.Random(seed)
    return "\n".join(
        f"{pick.getrandbits(28):07x} Do not {pick.choice(_WORDS)} the {pick.choice(_WORDS)} {n}"
        for n in range(pick.randrange(20, 300))
    )


def blame(seed: int) -> str:
    """Return lines that share a long beginning."""
    pick = random.Random(seed)
    who = (
        f"5a28c8{pick.randrange(99):02d} (Some Body 2026-11-{pick.randrange(10, 28)} 01:45:47 +0000"
    )
    return "\n".join(f"{who} {n:3}) {pick.choice(_WORDS)} = {n}" for n in range(60))


def matches(seed: int) -> str:
    """Return a search's matches with the lines around them."""
    pick = random.Random(seed)
    lines = []
    for _ in range(12):
        path = f"./src/{pick.choice(_WORDS)}-v2.0/{pick.choice(_WORDS)}_{pick.randrange(9)}.py"
        start = pick.randrange(1, 500)
        lines.append(f"{path}:{start}:def {pick.choice(_WORDS)}(x):")
        lines += [f"{path}-{start + k}-    if not x.{pick.choice(_WORDS)}:" for k in range(1, 9)]
        lines.append("--")
    return "\n".join(lines)


def rows(seed: int) -> str:
    """Return a JSON list of like objects, in one of the ways that programs write it."""
    pick = random.Random(seed)
    values = [
        {"id": n, "name": pick.choice(_WORDS), "load": n * 1.5, "ok": n % 9 > 0, "tags": ["a", n]}
        for n in range(pick.randrange(5, 400))
    ]
    indent = pick.choice([None, 2, 4])
    separators = pick.choice([None, (",", ":")]) if indent is None else None
    return json.dumps(values, indent=indent, separators=separators) + pick.choice(["", "\n"])


def test_run(seed: int) -> str:
    """Return a test run with passed and failed tests and totals."""
    pick = random.Random(seed)
    lines = [f"tests/test_{w}.py::test_{n} PASSED" for n in range(80) for w in _WORDS[:2]]
    for n in range(7):
        lines.insert(pick.randrange(len(lines)), f"tests/test_x.py::test_fails_{n} FAILED")
    return "\n".join([*lines, "=== 7 failed, 160 passed in 3.21s ==="])


def diff(seed: int) -> str:
    """Return a diff whose changed lines look like headers."""
    pick = random.Random(seed)
    out = []
    for n in range(6):
        out += [f"diff --git a/q{n}.sql b/q{n}.sql", f"--- a/q{n}.sql", f"+++ b/q{n}.sql"]
        out.append("@@ -10,30 +10,30 @@")
        out += [f" select {pick.choice(_WORDS)}_{k} from {pick.choice(_WORDS)};" for k in range(30)]
        out[-9:-9] = [f"--- drop {n}", f"+++ count {n}", "+-- grant"]
    return "\n".join(out)


TEXTS: dict[str, Callable[[int], str]] = {
    "log": log, "one_kind": one_kind, "listing": listing, "blame": blame, "matches": matches,
    "rows": rows, "test_run": test_run, "diff": diff,
}  # fmt: skip
COMMANDS = {
    "log": "tail -500 app.log", "one_kind": "tail -400 /var/log/dpkg.log",
    "listing": "git log --oneline", "blame": "git blame -L 1,60 notes.txt",
    "matches": "grep -rn -A8 def src", "rows": "curl -s http://x/units", "test_run": "pytest -v",
    "diff": "git diff main",
}  # fmt: skip


def mutated(text: str, seed: int) -> str:
    """Return ``text`` with some lines doubled, cut, swapped, or made like the farm's own notes."""
    pick = random.Random(seed)
    lines = text.split("\n")
    for _ in range(pick.randrange(1, 6)):
        at = pick.randrange(len(lines))
        lines[at : at + 1] = pick.choice(
            [
                [lines[at]] * pick.randrange(2, 40),
                [lines[at][: pick.randrange(len(lines[at]) + 1)]],
                [""],
                ["[... 3 lines omitted ...]"],
                ['[... each of the next 4 lines begins with "x", omitted in them ...]', lines[at]],
                [f"\x1b[31m{lines[at]}\x1b[0m  "],
                [lines[at][::-1]],
                ["[... 9 more lines equal to the one above omitted ...]"],
                [lines[at], "12:34:56"],
            ]
        )
    return "\n".join(lines)
