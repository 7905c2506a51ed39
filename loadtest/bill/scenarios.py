"""What an agent does in each session: real commands, reads and edits in a real project.

A step is neutral; :func:`call_of` words it as a client's tool call. The project is a copy of
this repository with a small shop, its tests, and programs that print logs and JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

REPOSITORY = Path(__file__).resolve().parents[2]
Client = Literal["claude", "codex"]
CLIENTS: tuple[Client, ...] = ("claude", "codex")
_LOG = """import random, sys
r = random.Random({seed})
for i in range({count}):
    level = "ERROR" if i % 97 == 5 else "WARN" if i % 41 == 3 else "INFO"
    at = f"2026-05-04T{{i // 3600 % 24:02d}}:{{i // 60 % 60:02d}}:{{i % 60:02d}}Z"
    print(f"{{at}} {{level}} [svc-{{r.randrange(9)}}] request {{r.getrandbits(32):08x}} "
          f"took {{r.randrange(900)}} ms")
"""
_PODS = """import json, random
r = random.Random({seed})
print(json.dumps([{{"name": f"web-{{i}}", "node": f"n{{i % 7}}",
  "phase": "Running" if i % 41 else "CrashLoopBackOff", "restarts": r.randrange(4),
  "ip": f"10.1.{{i // 250}}.{{i % 250}}"}} for i in range({count})]))
"""
_API = """import json, random, sys
page = int(sys.argv[1])
r = random.Random({seed} + page)
print(json.dumps({{"page": page, "next": page + 1, "items": [{{"id": page * 100 + i,
  "customer": f"c-{{r.randrange(5000)}}", "state": r.choice(["paid", "open", "refunded"]),
  "total_cents": r.randrange(90000), "currency": "EUR",
  "lines": [{{"sku": f"sku-{{r.randrange(400)}}", "quantity": r.randrange(1, 5)}}
            for _ in range(2)]}} for i in range(60)]}}, indent=2))
"""
_FUNCTIONS = 24


def _shop() -> str:
    """Return a module of functions, every third with a fault that its test finds."""
    out = ['"""Prices of a shop."""\n']
    for i in range(_FUNCTIONS):
        wrong = " + 1" if i % 3 == 0 else ""
        out.append(
            f"\ndef total_{i}(prices, rate):\n"
            f'    """Return the sum of prices with a rate of {i} per cent taken off."""\n'
            f"    amount = sum(prices)\n"
            f"    return round(amount * (100 - rate) / 100){wrong}  # rule {i}\n"
        )
    return "\n".join(out)


def _shop_tests() -> str:
    cases = "\n".join(
        f"    def test_total_{i}(self):\n"
        f'        """Rule {i} takes its rate off the sum and rounds once."""\n'
        f"        self.assertEqual(shop.total_{i}([100, 250, {i}], {i}), "
        f"round((350 + {i}) * (100 - {i}) / 100))\n"
        for i in range(_FUNCTIONS)
    )
    return f"import unittest\nimport shop\n\n\nclass ShopTest(unittest.TestCase):\n{cases}\n"


@dataclass(frozen=True)
class Step:
    """One call: a shell command, a file to read, or an edit of one line of a file."""

    kind: Literal["run", "read", "edit"]
    what: str
    old: str = ""
    new: str = ""


def _run(*commands: str) -> list[Step]:
    return [Step("run", command) for command in commands]


def _read(*paths: str) -> list[Step]:
    return [Step("read", path) for path in paths]


def _fix(i: int) -> Step:
    return Step("edit", "shop.py", f"100) + 1  # rule {i}", f"100)  # rule {i}")


def _review() -> list[Step]:
    return [
        *_run("git log --oneline -40", "git show --stat HEAD", "git show HEAD | head -400"),
        *_run("git diff HEAD~1 -- api | head -300", "grep -rn 'async def' --include=*.py api"),
        *_run("cat Makefile", "sed -n 1,120p README.md", "cat docs/deploy.md"),
        *_read("shared/keys.py", "api/app.py", "shared/keys.py"),
        *_run("git diff HEAD~1 -- api | head -300"),
    ]


def _incident() -> list[Step]:
    return [
        *_run("python3 make_log.py | tail -600", "python3 make_log.py | grep -c ERROR"),
        *_run("python3 make_log.py | grep ERROR | head -40", "python3 make_pods.py"),
        *_run("python3 make_pods.py | python3 -m json.tool | head -400", "ls -la shared api"),
        *_run("python3 make_log.py | tail -600", "python3 make_pods.py"),
    ]


def _debugging() -> list[Step]:
    test = "python3 -m unittest -v test_shop 2>&1"
    steps = [*_read("shop.py", "test_shop.py"), *_run(test)]
    for i in (0, 3, 6, 9):
        steps += _run(
            f"python3 -c 'import shop; print(shop.total_{i}([100, 250], {i}))'",
            f"grep -n 'rule {i}' shop.py test_shop.py",
            f"sed -n {i * 6 + 1},{i * 6 + 60}p shop.py",
        )
        steps += [_fix(i), *_run(test)]
    return [*steps, *_read("shop.py")]


def _test_loop() -> list[Step]:
    steps = _read("shop.py")
    for i in range(0, _FUNCTIONS, 3):
        steps += [*_run("python3 -m unittest -v test_shop 2>&1"), _fix(i)]
    return [*steps, *_run("python3 -m unittest -v test_shop 2>&1")]


def _log_hunt() -> list[Step]:
    return [
        *_run("python3 make_log.py > app.log; wc app.log; head -50 app.log", "tail -200 app.log"),
        *_run("grep -n ERROR app.log", "grep -n 'svc-3' app.log | head -200"),
        *_run("grep -n -B2 -A2 ERROR app.log | head -150", "grep -n WARN app.log | head -80"),
        *_run("awk '$2 == \"ERROR\"' app.log | sort -k3 | head -60", "sed -n 480,700p app.log"),
        *_run("grep -n ERROR app.log", "tail -200 app.log"),
    ]


def _refactor() -> list[Step]:
    steps = [*_run("grep -rn 'total_' --include=*.py ."), *_read("shop.py", "test_shop.py")]
    for i in (3, 6, 12):
        steps += [_fix(i), *_read("shop.py")]
    steps.append(Step("edit", "shop.py", "Prices of a shop.", "Prices of the shop."))
    return [*steps, *_read("shop.py"), *_run("git diff", "python3 -m unittest test_shop 2>&1")]


def _api_json() -> list[Step]:
    pages = _run(*(f"python3 api_page.py {page}" for page in (1, 2, 3)))
    return [
        *pages,
        *_run("python3 api_page.py 2 | grep -c refunded", "python3 make_pods.py"),
        *_run("python3 api_page.py 2", "python3 api_page.py 4", "python3 make_pods.py"),
    ]


SCENARIOS: dict[str, Callable[[], list[Step]]] = {
    "review": _review,
    "incident": _incident,
    "debugging": _debugging,
    "test-loop": _test_loop,
    "log-hunt": _log_hunt,
    "refactor": _refactor,
    "api-json": _api_json,
}
QUESTION = "Find out how this works and mend it."


def project(directory: Path, seed: int = 7, size: int = 2000) -> Path:
    """Make the project in ``directory`` (which is not there yet); ``size`` is the log's lines."""
    cloned = (
        shutil.which("git")
        and not subprocess.run(
            ["git", "clone", "--quiet", REPOSITORY, directory], check=False, capture_output=True
        ).returncode
    )
    if not cloned:
        wanted = ("api", "shared", "docs")
        for name in wanted:
            shutil.copytree(REPOSITORY / name, directory / name)
        for name in ("Makefile", "README.md"):
            shutil.copy(REPOSITORY / name, directory / name)
    for name, text in {
        "make_log.py": _LOG.format(seed=seed, count=size),
        "make_pods.py": _PODS.format(seed=seed, count=size // 9),
        "api_page.py": _API.format(seed=seed),
        "shop.py": _shop(),
        "test_shop.py": _shop_tests(),
    }.items():
        (directory / name).write_text(text)
    return directory


def call_of(step: Step, client: Client, place: Path) -> tuple[str, dict[str, Any]]:
    """Return the name and the input of the client's tool call for ``step``."""
    path = str(place / step.what)
    if client == "claude":
        if step.kind == "run":
            return "Bash", {"command": step.what, "description": "run"}
        if step.kind == "read":
            return "Read", {"file_path": path}
        return "Edit", {"file_path": path, "old_string": step.old, "new_string": step.new}
    return "exec_command", {"cmd": command_of(step)}


def command_of(step: Step) -> str:
    """Return a step as a shell command."""
    if step.kind == "run":
        return step.what
    if step.kind == "read":
        return f"cat {step.what}"
    code = (
        f"p = {step.what!r}; s = open(p).read(); "
        f"open(p, 'w').write(s.replace({step.old!r}, {step.new!r}))"
    )
    return f"python3 -c {json.dumps(code)} && echo edited"


def calls_of(
    steps: Sequence[Step], client: Client, place: Path
) -> list[tuple[str, dict[str, Any]]]:
    """Return the client's tool calls for ``steps``, in order."""
    return [call_of(step, client, place) for step in steps]
