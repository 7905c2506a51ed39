"""Test runs, linters, traces, JSON and data."""

from __future__ import annotations

import base64
import json
import random

from .sample import Maker, Sample, clock, ends, hexes, name, sentence, word


def pytest(pick: random.Random, size: int) -> Sample:
    """Return a verbose run with failures and their traces."""
    lines = [f"tests/test_{word(pick)}.py::test_{name(pick)}_{n} PASSED [{n * 100 // size:>3}%]"
             for n in range(size)]  # fmt: skip
    must: list[str] = []
    for n in range(4):
        line = f"tests/test_{word(pick)}.py::test_{name(pick)}_fails_{n} FAILED"
        lines.insert(pick.randrange(len(lines)), line)
        must.append(line)
    value = pick.randrange(999)
    trace = ["=================================== FAILURES ===================================",
             f"    def test_{name(pick)}():", f">       assert total() == {value}",
             f"E       assert {value + 1} == {value}", f"tests/test_x.py:{value}: AssertionError",
             f"=== 4 failed, {size} passed in 9.41s ==="]  # fmt: skip
    return Sample("pytest -v", "test run", "python -m pytest -v", "\n".join([*lines, *trace]),
                  (*must, *trace[1:]))  # fmt: skip


def vitest(pick: random.Random, size: int) -> Sample:
    """Return a run of vitest."""
    lines = [f" ✓ src/{name(pick)}.test.ts > {word(pick)} > {sentence(pick)} {n % 40}ms"
             for n in range(size)]  # fmt: skip
    must = [
        f" × src/{name(pick)}.test.ts > {word(pick)} > keeps the {word(pick)} {n}" for n in range(5)
    ]
    for line in must:
        lines.insert(pick.randrange(len(lines)), line)
    tail = ["", "AssertionError: expected 3 to be 4 // Object.is equality", "- Expected", "+ Received",
            "- 4", "+ 3", f" Test Files  2 failed | {size // 9} passed",
            f"      Tests  5 failed | {size} passed"]  # fmt: skip
    return Sample("vitest", "test run", "npx vitest run", "\n".join([*lines, *tail]),
                  (*must, tail[1], *tail[-2:]))  # fmt: skip


def gotest(pick: random.Random, size: int) -> Sample:
    """Return a run of ``go test -v``."""
    lines = []
    for n in range(size // 2):
        lines += [
            f"=== RUN   Test{word(pick).title()}{n}",
            f"--- PASS: Test{word(pick).title()}{n} (0.0{n % 9}s)",
        ]
    bad = [f"--- FAIL: Test{word(pick).title()}Closed (0.02s)",
           f"    store_test.go:{pick.randrange(900)}: got 7 rows, want 8", "FAIL",
           "FAIL\texample.org/harbour/store\t4.120s"]  # fmt: skip
    return Sample("go test", "test run", "go test -v ./...", "\n".join([*lines, *bad]), tuple(bad))


def cargotest(pick: random.Random, size: int) -> Sample:
    """Return a run of ``cargo test``."""
    lines = [f"test {word(pick)}::tests::{name(pick)}_{n} ... ok" for n in range(size)]
    bad = f"test {word(pick)}::tests::{name(pick)} ... FAILED"
    lines.insert(size // 2, bad)
    tail = ["", "failures:", "", "---- tests::closed stdout ----",
            f"thread 'tests::closed' panicked at src/{word(pick)}.rs:40:9:",
            "assertion `left == right` failed", "  left: 1", " right: 2", "",
            f"test result: FAILED. {size} passed; 1 failed; 0 ignored; finished in 0.91s"]  # fmt: skip
    return Sample("cargo test", "test run", "cargo test", "\n".join([*lines, *tail]),
                  (bad, tail[4], tail[5], tail[6], tail[7], tail[-1]))  # fmt: skip


def _errors(title: str, command: str, lines: list[str]) -> Sample:
    return Sample(
        title, "errors", command, "\n".join(lines), tuple(x for x in lines if x.strip()), True
    )


def tsc(pick: random.Random, size: int) -> Sample:
    """Return a type checker's errors."""
    return _errors("tsc", "npx tsc --noEmit", [
        f"src/{name(pick)}.ts({n},{n % 60}): error TS2339: Property '{word(pick)}' does not exist on "
        f"type '{word(pick).title()}'." for n in range(size)])  # fmt: skip


def eslint(pick: random.Random, size: int) -> Sample:
    """Return a linter's findings by file."""
    lines: list[str] = []
    while len(lines) < size:
        lines += [f"/srv/web/src/{name(pick)}.js",
                  *[f"  {n}:{n % 9}  error  '{name(pick)}' is not defined  no-undef" for n in range(6)],
                  ""]  # fmt: skip
    return _errors(
        "eslint", "npx eslint .", [*lines, f"✖ {size} problems ({size} errors, 0 warnings)"]
    )


def traces(pick: random.Random, size: int) -> Sample:
    """Return the last words of eight languages' programs."""
    w = name(pick)
    frames = max(4, size // 9)
    lines = ["Traceback (most recent call last):",
             *[f'  File "/srv/{w}.py", line {n}, in {w}\n    return {w}({n})' for n in range(frames)],
             f"ValueError: {w} is 7", "",
             f'Exception in thread "main" java.lang.IllegalStateException: {w}',
             *[f"\tat org.{w}.Main.step{n}(Main.java:{n})" for n in range(frames)],
             f"Caused by: java.io.IOException: {w} refused", "",
             f"panic: runtime error: index out of range [{frames}]", "", "goroutine 1 [running]:",
             *[f"main.{w}{n}(0x{n:x})\n\t/srv/{w}.go:{n} +0x1d" for n in range(frames)], "",
             f"thread 'main' panicked at src/{w}.rs:9:5:", f"called `Result::unwrap()` on {w}",
             *[f"   {n}: {w}::step_{n}\n             at ./src/{w}.rs:{n}:5" for n in range(frames)], "",
             f"TypeError: Cannot read properties of undefined (reading '{w}')",
             *[f"    at {w}{n} (/srv/{w}.js:{n}:11)" for n in range(frames)], "",
             f"app/{w}.rb:7:in `fetch': key not found: :{w} (KeyError)",
             *[f"\tfrom app/{w}.rb:{n}:in `step_{n}'" for n in range(frames)], "",
             f"PHP Fatal error:  Uncaught Error: Call to undefined function {w}()",
             *[f"#{n} /srv/{w}.php({n}): {w}()" for n in range(frames)], "",
             f"Unhandled exception. System.InvalidOperationException: {w}",
             *[f"   at {w}.Program.Step{n}() in /srv/{w}.cs:line {n}" for n in range(frames)]]  # fmt: skip
    heads = [x for x in lines if x[:1].strip() and not x.startswith(("#", "main.", "goroutine"))]
    return Sample("traces of 8 languages", "errors", "./run-all.sh", "\n".join(lines), tuple(heads))


def rows(pick: random.Random, size: int) -> Sample:
    """Return a JSON list of like objects with rare bad ones."""
    items = [{"id": n, "owner": name(pick), "state": "ok" if pick.random() > 0.02 else "failed",
              "load": round(pick.random() * 9, 3), "when": f"2026-05-04T{clock(n)}Z"}
             for n in range(size)]  # fmt: skip
    text = json.dumps(items, indent=pick.choice([None, 2]))
    return Sample("JSON list", "json", "curl -s http://api/units", text,
                  ('"failed"',) if '"failed"' in text else ())  # fmt: skip


def nested(pick: random.Random, size: int) -> Sample:
    """Return nested JSON with keys that come twice and odd numbers."""
    body = ",\n".join(f'    "set-cookie": "{name(pick)}={n}; Path=/",\n    "n{n}": {n}.50e+03'
                      for n in range(size // 2))  # fmt: skip
    text = f'{{\n  "headers": {{\n{body}\n  }},\n  "size": 1e400\n}}\n'
    return Sample("JSON with equal keys", "json", "http --json GET http://api/x", text, ("1e400",))


def data(pick: random.Random, size: int) -> Sample:
    """Return base64 in lines."""
    raw = base64.encodebytes(pick.randbytes(size * 57)).decode().rstrip()
    return Sample("base64", "other", "base64 logo.png", raw, ends(raw.split("\n")))


def unicode(pick: random.Random, size: int) -> Sample:
    """Return lines of several scripts, all different."""
    lines = [f"{pick.choice('αβγδжзий漢字かな')}{hexes(pick, 6)} {word(pick)} – „{word(pick)}“ № {n}"
             for n in range(size)]  # fmt: skip
    return Sample("unicode", "other", "./list --all", "\n".join(lines), ends(lines))


RUNS: tuple[Maker, ...] = (
    pytest, vitest, gotest, cargotest, tsc, eslint, traces, rows, nested, data, unicode,
)  # fmt: skip
