"""``go test -v`` without the lines that say that a test begins, and back.

Each test is named twice: by ``=== RUN`` when it begins and by ``--- PASS`` when it ends. Where
nothing was printed between the two, the results name the same tests in the same order.
"""

from __future__ import annotations

import re

from .reversible import ReversibleForm

_NOTE = (
    "[... go test: the === RUN lines of a test and its subtests stand right above its result, in"
    " the order of the results; omitted where nothing else stands between ...]"
)
_RUN = re.compile(r"=== RUN   (\S.*)")
_RESULT = re.compile(r" *--- (?:PASS|FAIL|SKIP): (\S.*) \(\d[\d.]*s\)")
_BEGIN = "=== RUN   "
_LEAST_RUNS = 6
_BARE = "[... no === RUN lines stand above the next result ...]"


def without_runs(text: str) -> ReversibleForm | None:
    """Return ``text`` without the lines that its results say again; None where these are few."""
    if text.count(_BEGIN) < _LEAST_RUNS:
        return None
    lines = text.split("\n")
    out = [_NOTE]
    begun: set[str] = set()
    at = omitted = 0
    while at < len(lines):
        end = at
        while end < len(lines) and _RUN.fullmatch(lines[end]):
            end += 1
        names = [line.removeprefix(_BEGIN) for line in lines[at:end]]
        if not names:
            result = _result(lines[at])
            if result and result not in begun:
                out.append(_BARE)
            begun.discard(result)
            out.append(lines[at])
            at += 1
            continue
        results = _results(lines, end)
        if names == results and names[0] not in begun:
            omitted += len(names)
            out.append(lines[end])
            end += 1
        else:
            begun.update(names)
            out += lines[at:end]
        at = end
    made = "\n".join(out)
    if omitted < _LEAST_RUNS or _with_runs(made) != text:
        return None
    return ReversibleForm(made, _with_runs, "farm_repeats")


def _result(line: str) -> str:
    """Return the test whose result stands on a line and is no subtest's; empty for another line."""
    found = _RESULT.fullmatch(line) if line[:1] == "-" else None
    return found[1] if found is not None else ""


def _results(lines: list[str], at: int) -> list[str]:
    """Return the tests of which the results stand from line ``at`` on: one and its subtests."""
    found: list[str] = []
    while at < len(lines) and (not found or lines[at][:1] == " "):
        result = _RESULT.fullmatch(lines[at])
        if result is None and not found:
            break
        if result is not None:
            found.append(result[1])
        at += 1
    return found


def _with_runs(text: str) -> str:
    """Return the text of which :func:`without_runs` left lines out.

    Raises:
        ValueError: the text is none of its forms.
    """
    note, *lines = text.split("\n")
    if note != _NOTE:
        raise ValueError("no note")
    out: list[str] = []
    begun: set[str] = set()
    bare = False
    for at, line in enumerate(lines):
        if line == _BARE:
            bare = True
            continue
        run, result = _RUN.fullmatch(line), _result(line)
        if run is not None:
            begun.add(run[1])
        elif result:
            if not bare and result not in begun:
                out += [_BEGIN + name for name in _results(lines, at)]
            begun.discard(result)
            bare = False
        out.append(line)
    return "\n".join(out)
