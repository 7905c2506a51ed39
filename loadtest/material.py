"""Real tool output, collected at run time from the environment of the running interpreter.

The raw material is the standard library, the installed distributions, and what real programs
(python, git, grep) print about them. Nothing is downloaded or committed, and the material differs
between machines. Parts that change from run to run on one machine (temporary paths, object
addresses, timings) are normalised, so the same seed gives the same samples.
"""

from __future__ import annotations

import ast
import difflib
import email
import email.message
import functools
import importlib
import importlib.metadata
import io
import json
import logging
import os
import pydoc
import random
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from .material_cache import cached

KINDS: Final = (
    "json",
    "log",
    "grep",
    "diff",
    "html",
    "prose",
    "code",
    "traceback",
    "table",
    "config",
    "status",
)
"""All kinds of samples."""

_MIN_CHARS: Final = 300
_SIZES: Final = (
    700, 2_500, 6_000, 10_500, 11_500, 12_500, 14_000, 16_000, 19_000, 22_000, 26_000, 29_000,
    33_000, 39_000,
)  # fmt: skip
_TIMEOUT_S: Final = 20.0
_ROOT: Final = "/workspace/project"
_HTML_MODULES: Final = (
    "json", "json.decoder", "csv", "shutil", "tempfile", "glob", "fnmatch", "textwrap", "string",
    "struct", "queue", "heapq", "bisect", "statistics", "fractions", "calendar", "configparser",
    "argparse", "logging", "logging.handlers", "threading", "selectors", "socketserver",
    "http.client", "http.server", "http.cookies", "email.message", "email.policy", "html.parser",
    "urllib.parse", "urllib.request", "zipfile", "tarfile", "gzip", "bz2", "pathlib", "random",
    "ast", "dis", "pprint", "reprlib", "enum", "dataclasses", "contextlib", "functools",
    "asyncio.queues", "asyncio.locks", "asyncio.streams", "concurrent.futures", "difflib",
    "codecs", "locale", "optparse", "cmd", "code",
)  # fmt: skip
_PATTERNS: Final = (
    "import os", "def __init__", "raise ValueError", "TODO", "return None", "except",
    "isinstance", "async def", "self._lock", "logging", "warnings.warn", "yield", "encoding",
    "DeprecationWarning", "timeout", "lambda", "@property", "assert ", "struct.", "class ",
)  # fmt: skip


class Sample(msgspec.Struct, frozen=True):
    """One piece of real tool output.

    ``kind`` is one of ``KINDS``; ``command`` the shell command (or tool call) that prints it;
    ``tool`` the tool's name in an agent's call (Bash, Read, an MCP name); ``path`` the file it was
    read from, None if it is not the content of one file.
    """

    kind: str
    command: str
    tool: str
    text: str
    path: str | None = None


def collect(seed: int = 0, limit_chars: int = 40_000) -> list[Sample]:
    """Collect samples of every kind that this machine can produce.

    ``seed`` selects from the material and determines the order; on one machine, the same seed
    gives the same list. No sample is shorter than 300 or longer than ``limit_chars`` characters,
    and no two have the same text. The first call for a seed takes seconds; the result is cached,
    for other processes too where ``material_cache`` has a folder.
    Samples of a program that is not installed (git) are left out. Raises ``ValueError`` for a
    limit below the minimum length.
    """
    if limit_chars < _MIN_CHARS:
        raise ValueError(f"limit_chars must be at least {_MIN_CHARS}")
    return list(_cached(seed, limit_chars))


def cut_lines(text: str, size: int) -> str:
    """Return as many whole lines from the start of ``text`` as fit into ``size`` characters.

    If the first line alone is longer, it is cut.
    """
    if len(text) <= size:
        return text
    end = text.rfind("\n", 0, size)
    return text[: end + 1] if end > 0 else text[:size]


@functools.cache
def _cached(seed: int, limit_chars: int) -> tuple[Sample, ...]:
    name = f"{seed}-{limit_chars}"
    return cached(name, lambda: _collected(seed, limit_chars), tuple[Sample, ...])


def _collected(seed: int, limit_chars: int) -> tuple[Sample, ...]:
    makers: tuple[Callable[[_Machine], Iterator[Sample]], ...] = (
        _json, _logs, _greps, _diffs, _html, _prose, _code, _tracebacks, _tables, _configs,
        _statuses,
    )  # fmt: skip
    found: dict[str, Sample] = {}
    with tempfile.TemporaryDirectory(prefix="material-") as folder:
        machine = _Machine(seed, limit_chars, Path(folder))
        for maker in makers:
            for sample in maker(machine):
                text = machine.steady(sample.text)
                if _MIN_CHARS <= len(text) <= limit_chars:
                    found.setdefault(text, msgspec.structs.replace(sample, text=text))
    samples = list(found.values())
    random.Random(seed).shuffle(samples)
    return tuple(samples)


class _Package(NamedTuple):
    """An installed distribution and its METADATA, parsed once."""

    name: str
    dist: importlib.metadata.Distribution
    about: email.message.Message

    def file(self, name: str) -> str:
        """Return a file of its ``.dist-info`` folder; empty if it is missing."""
        return self.dist.read_text(name) or ""


class _Machine:
    """The source of all samples: this interpreter's files, a seeded RNG, a scratch folder."""

    def __init__(self, seed: int, limit: int, scratch: Path) -> None:
        self.rng = random.Random(f"material {seed}")
        self.limit = limit
        self.scratch = scratch
        self.git = shutil.which("git")
        self.trees: dict[Path, tuple[str, ast.Module]] = {}
        stdlib = Path(sysconfig.get_path("stdlib"))
        self.stdlib = stdlib
        self.modules = [
            path
            for path in sorted(stdlib.glob("*.py")) + sorted(stdlib.glob("[a-z]*/*.py"))
            if not {"test", "idlelib", "lib2to3", "site-packages"} & set(path.parts)
            and 2_000 < path.stat().st_size < 200_000
        ]
        self.packages = [
            path.parent
            for path in sorted(stdlib.glob("[a-z]*/__init__.py"))
            if len(list(path.parent.glob("*.py"))) > 4 and path.parent.name not in {"test"}
        ]
        self.site = Path(sysconfig.get_path("purelib"))
        self.parsed = self.some(self.modules, 70)
        found: dict[str, _Package] = {}
        for dist in importlib.metadata.distributions():
            about = email.message_from_string(dist.read_text("METADATA") or "")
            if about.get("Name"):
                found[about["Name"]] = _Package(about["Name"], dist, about)
        self.dists = [found[name] for name in sorted(found)]

    def sizes(self) -> list[int]:
        """Return the sizes of samples to make, in characters, in a seeded order."""
        sizes = [size for size in _SIZES if size <= self.limit]
        self.rng.shuffle(sizes)
        return sizes

    def some(self, items: Sequence[Path], count: int) -> list[Path]:
        """Return up to ``count`` of the paths, chosen by the seed."""
        return self.rng.sample(items, min(count, len(items)))

    def tree(self, path: Path) -> tuple[str, ast.Module]:
        """Return a module's source and syntax tree; parsed once."""
        if path not in self.trees:
            source = path.read_text("utf-8")
            self.trees[path] = (source, ast.parse(source))
        return self.trees[path]

    def window(self, text: str, size: int) -> str:
        """Return whole lines of ``text`` from a seeded position, within ``size`` characters."""
        if len(text) <= size:
            return text
        start = text.find("\n", self.rng.randrange(len(text) - size)) + 1
        return cut_lines(text[start:], size)

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Return a program's stdout and stderr; empty if it is missing or too slow."""
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "HOME": str(self.scratch),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "A. Developer",
            "GIT_AUTHOR_EMAIL": "dev@example.org",
            "GIT_AUTHOR_DATE": "2025-03-01T10:00:00Z",
            "GIT_COMMITTER_NAME": "A. Developer",
            "GIT_COMMITTER_EMAIL": "dev@example.org",
            "GIT_COMMITTER_DATE": "2025-03-01T10:00:00Z",
        }
        try:
            done = subprocess.run(
                command,
                cwd=cwd or self.scratch,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode("utf-8", "replace")

    def steady(self, text: str) -> str:
        """Replace what differs between runs in ``text``: scratch paths, addresses, timings."""
        seen: dict[str, str] = {}

        def address(match: re.Match[str]) -> str:
            return seen.setdefault(match[0], f"0x7f3a{len(seen) * 64 + 4096:08x}")

        text = text.replace(str(self.scratch), _ROOT)
        text = re.sub(r"\b0x[0-9a-f]{8,}\b", address, text)
        return re.sub(r"\bin \d+\.\d+s\b", "in 1.284s", text)


def _read(path: Path) -> str:
    """Return a file's text; empty if it is not valid UTF-8."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _rows(machine: _Machine) -> list[dict[str, Any]]:
    """Return an object per installed distribution, as a package manager lists them."""
    rows: list[dict[str, Any]] = []
    for dist in machine.dists:
        about = dist.about
        licensed = about.get("License-Expression") or about.get("License") or ""
        rows.append(
            {
                "name": dist.name,
                "version": about.get("Version"),
                "summary": about.get("Summary"),
                "license": licensed[:60] or None,
                "requires_python": about.get("Requires-Python"),
                "requires": len(about.get_all("Requires-Dist") or ()),
                "files": dist.file("RECORD").count("\n"),
                "installer": dist.file("INSTALLER").strip(),
                "homepage": about.get("Home-page"),
                "editable": False,
            }
        )
    return rows


def _records(dist: _Package) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in dist.file("RECORD").splitlines():
        path, digest, size = [*line.rsplit(",", 2), "", ""][:3]
        rows.append({"path": path, "sha256": digest.removeprefix("sha256="), "size": size})
    return rows


def _entries(folder: Path) -> list[dict[str, Any]]:
    """Return an object per directory entry, as a file-system tool lists them."""
    rows: list[dict[str, Any]] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        info = entry.stat(follow_symlinks=False)
        rows.append(
            {
                "name": entry.name,
                "path": entry.path,
                "type": "directory" if stat.S_ISDIR(info.st_mode) else "file",
                "size": info.st_size,
                "mode": stat.filemode(info.st_mode),
                "uid": info.st_uid,
                "modified": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(info.st_mtime)),
                "epoch": int(info.st_mtime),
            }
        )
    return rows


def _symbols(machine: _Machine, path: Path) -> list[dict[str, Any]]:
    """Return an object per class and function of a source file, as a code index does."""
    rows: list[dict[str, Any]] = []
    for node in ast.walk(machine.tree(path)[1]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            doc = (ast.get_docstring(node) or "").partition("\n")[0]
            rows.append(
                {
                    "id": f"{path.stem}.{node.name}:{node.lineno}",
                    "name": node.name,
                    "kind": type(node).__name__,
                    "file": str(path),
                    "line": node.lineno,
                    "end_line": node.end_lineno,
                    "exported": not node.name.startswith("_"),
                    "doc": doc or None,
                }
            )
    return rows


def _fit(rows: Iterable[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Return as many of the rows as take about ``size`` characters of compact JSON."""
    taken: list[dict[str, Any]] = []
    total = 2
    for row in rows:
        total += len(json.dumps(row, ensure_ascii=False)) + 2
        if total > size:
            break
        taken.append(row)
    return taken


def _json(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    dists = _rows(machine)
    command = "python3 -c 'import importlib.metadata, json; ...'"
    for size in machine.sizes()[:8]:
        rng.shuffle(dists)
        yield Sample("json", command, "Bash", json.dumps(_fit(dists, size)))
    modules = machine.some(machine.parsed, 40)
    symbols = [row for path in modules for row in _symbols(machine, path)]
    for number, size in enumerate(machine.sizes()):
        start = rng.randrange(max(1, len(symbols) - 300))
        rows = _fit(symbols[start:], size)
        tool = "mcp__code_index__search_symbols"
        if number % 3 == 0:
            page = {"total": len(symbols), "page": number, "items": rows, "next": None}
            yield Sample("json", f"{tool} page={number}", tool, json.dumps(page))
        elif number % 3 == 1:
            yield Sample("json", f"{tool} from={start}", tool, json.dumps(rows))
        else:
            lines = "\n".join(json.dumps(row) for row in rows)
            yield Sample("json", "ctags --output-format=json", "Bash", lines)
    folders = [machine.stdlib, *machine.packages]
    chosen = rng.sample(folders, len(folders))
    for number, (size, folder) in enumerate(zip(machine.sizes() * 2, chosen, strict=False)):
        tool = "mcp__filesystem__list_directory"
        entries = _entries(folder)
        if number % 2:
            bare = [{**entry, "modified": entry["epoch"]} for entry in entries]
            text = json.dumps(_fit(bare, size), separators=(",", ":"))
        else:
            rows = _fit(entries, size * 2 // 3)
            text = json.dumps({"directory": str(folder), "entries": rows}, indent=2)
        yield Sample("json", f"{tool} {folder}", tool, cut_lines(text, machine.limit))
    packed = [dist for dist in machine.dists if len(_records(dist)) > 20]
    for size, dist in zip(machine.sizes()[:8], rng.sample(packed, len(packed)), strict=False):
        text = json.dumps(_fit(_records(dist), size * 4 // 5), indent=1)
        yield Sample("json", f"pip-record --json {dist.name}", "Bash", text[: machine.limit])
    variables = {key: value for key, value in sysconfig.get_config_vars().items() if value != ""}
    text = json.dumps(dict(list(variables.items())[:300]), indent=2, default=str)
    if len(text) <= machine.limit:
        yield Sample("json", "python3 -m sysconfig --json", "Bash", text)
    text = machine.run(sys.executable, "-m", "pip", "list", "--format", "json", "--no-index")
    if text.startswith("["):
        yield Sample("json", "python3 -m pip list --format json", "Bash", text.strip())


class _Clock(logging.Filter):
    """Gives records simulated times, so that a seed's log is the same in every run."""

    def __init__(self, start: float, rng: random.Random) -> None:
        super().__init__()
        self.now = start
        self.rng = rng

    def filter(self, record: logging.LogRecord) -> bool:
        self.now += self.rng.random() * 1.5
        record.created = self.now
        record.msecs = int(self.now % 1 * 1000)
        return True


_LOG_FORMATS: Final = (
    ("%(asctime)s %(levelname)s %(name)s: %(message)s", None),
    ("[%(asctime)s] [%(levelname)-8s] %(name)s %(funcName)s:%(lineno)d - %(message)s", None),
    ("%(asctime)sZ %(levelname)s %(name)s[4127] %(message)s", "%Y-%m-%dT%H:%M:%S"),
    ("%(levelname)s:%(name)s:%(message)s", None),
)


def _scan_log(machine: _Machine, number: int, size: int) -> str:
    """Return the log of a program that opens, parses and checks source files.

    It goes on until about ``size`` characters have been logged.
    """
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    shape, dates = _LOG_FORMATS[number % len(_LOG_FORMATS)]
    formatter = logging.Formatter(shape, dates)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    start = (machine.stdlib / "os.py").stat().st_mtime + number * 3600
    handler.addFilter(_Clock(start, machine.rng))
    logger = logging.Logger("scanner." + ("walk", "lint", "index", "sync")[number % 4])
    logger.addHandler(handler)
    checked = 0
    strict = number % 2 == 1
    for path in machine.some(machine.parsed, 70):
        if out.tell() > size:
            break
        checked += 1
        logger.info("opening %s (%d bytes)", path, path.stat().st_size)
        source, tree = machine.tree(path)
        try:
            source.encode("ascii" if strict else "utf-8")
        except UnicodeEncodeError:
            logger.exception("cannot read %s", path)
            continue
        lines = source.splitlines()
        logger.debug("read %d lines, %d top-level nodes", len(lines), len(tree.body))
        for at, line in enumerate(lines, 1):
            if len(line) > 92:
                logger.warning("%s:%d: line is %d characters long", path.name, at, len(line))
            elif "XXX" in line or "TODO" in line:
                logger.warning("%s:%d: unresolved marker: %s", path.name, at, line.strip())
        if not ast.get_docstring(tree):
            logger.error("%s: no module docstring", path.name)
        logger.info("done %s", path.stem)
    logger.info("finished: %d files", checked)
    return out.getvalue()


_TEST_SOURCE: Final = '''import ast, pathlib, unittest

class ModuleChecks(unittest.TestCase):
    """Checks on one real source file each."""

def add(name, path):
    def documented(self):
        tree = ast.parse(pathlib.Path(path).read_text("utf-8"))
        self.assertTrue(ast.get_docstring(tree), path + " has no docstring")
    def lines_short(self):
        for line in pathlib.Path(path).read_text("utf-8").splitlines():
            self.assertLessEqual(len(line), 120)
    setattr(ModuleChecks, "test_documented_" + name, documented)
    setattr(ModuleChecks, "test_lines_short_" + name, lines_short)

for _path in pathlib.Path("list.txt").read_text().splitlines():
    add(pathlib.Path(_path).stem.strip("_"), _path)
'''


def _logs(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    for number, size in enumerate(machine.sizes() * 2):
        text = cut_lines(_scan_log(machine, number, size), size)
        yield Sample("log", f"python3 scan.py --shard {number}", "Bash", text)
    for names in ("json,email.message", "asyncio", "http.server,csv", "xml.dom.minidom"):
        text = machine.run(sys.executable, "-v", "-c", f"import {names}")
        text = machine.window(text, rng.choice((9_000, 15_000, 24_000)))
        yield Sample("log", f"python3 -v -c 'import {names}'", "Bash", text[: machine.limit])
    for number in range(4):
        folder = machine.scratch / f"checks{number}"
        folder.mkdir()
        chosen = machine.some(machine.modules, (4, 40, 60, 90)[number])
        (folder / "list.txt").write_text("\n".join(map(str, chosen)), "utf-8")
        (folder / "test_modules.py").write_text(_TEST_SOURCE, "utf-8")
        text = machine.run(sys.executable, "-m", "unittest", "-v", "test_modules", cwd=folder)
        text = cut_lines(text, machine.limit)
        yield Sample("log", "python3 -m unittest -v test_modules", "Bash", text)
    folder = machine.scratch / "tree"
    for number, package in enumerate(machine.some(machine.packages, 4)):
        shutil.copytree(
            package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__", "test*")
        )
        broken = folder / package.name / "generated.py"
        broken.write_text(_read(package / "__init__.py")[:200] + "\ndef broken(:\n", "utf-8")
        if number:
            text = machine.run(sys.executable, "-m", "compileall", "-f", ".", cwd=folder)
            text = cut_lines(text, machine.limit)
            yield Sample("log", "python3 -m compileall -f .", "Bash", text)


def _grep(machine: _Machine, pattern: str, folders: Sequence[Path], context: int) -> str:
    program = shutil.which("grep")
    if program:
        options = ["-rnF", "--include=*.py", *([f"-C{context}"] if context else [])]
        return machine.run(program, *options, pattern, *map(str, folders))
    hits = []
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        for at, line in enumerate(_read(path).splitlines(), 1):
            if pattern in line:
                hits.append(f"{path}:{at}:{line}\n")
    return "".join(hits)


def _greps(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    site = [path for path in sorted(machine.site.iterdir()) if (path / "__init__.py").is_file()]
    site = [path for path in site if len(list(path.glob("*.py"))) > 5]
    folders = machine.packages + site
    sizes = machine.sizes() * 2
    for number, size in enumerate(sizes):
        pattern = rng.choice(_PATTERNS)
        context = 2 if number % 7 == 3 else 0
        text = ""
        chosen = machine.some(folders, 6 if size > 8_000 else 2)
        text = _grep(machine, pattern, chosen, context)
        option = f" -C{context}" if context else ""
        tool = ("Bash", "mcp__ripgrep__search", "Bash", "Grep")[number % 4]
        command = f"grep -rn{option} --include=*.py '{pattern}' ."
        yield Sample("grep", command, tool, cut_lines(text, size))


def _edited(source: str, rng: random.Random, every: int) -> str:
    """Return ``source`` after mechanical edits of about one line in ``every``."""
    out: list[str] = []
    for line in source.splitlines(keepends=True):
        choice = rng.randrange(every * 4)
        if choice == 0:
            continue
        if choice == 1:
            out.append(line.replace("self", "this").replace("return", "return  "))
        elif choice == 2:
            indent = line[: len(line) - len(line.lstrip())]
            out += [f"{indent}# checked: see the notes on {line.strip()[:30]!r}\n", line]
        elif choice == 3:
            out.append(re.sub(r"\b(name|value|path|data|key)\b", r"\1_", line))
        else:
            out.append(line)
    return "".join(out)


def _diffs(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    for number, size in enumerate(machine.sizes() * 2):
        pairs: list[tuple[str, str, str]] = []
        every = rng.choice((4, 12, 30))
        for path in machine.some(machine.modules, 1 + size // 2_500):
            source = _read(path)
            pairs.append((path.name, source, _edited(source, rng, every)))
        if number % 3 == 0 and machine.git:
            text = _git_diff(machine, machine.git, machine.scratch / f"diff{number}", pairs)
            command = f"git diff main~{number + 1}"
        else:
            command = "hg diff --git" if number % 3 == 2 else "diff -ru"
            text = "".join(_unified(command.replace("hg ", ""), *pair) for pair in pairs)
            command += f" -r {number}" if number % 3 == 2 else f" a{number} b{number}"
        yield Sample("diff", command, "Bash", cut_lines(text, size))


def _unified(head: str, name: str, source: str, changed: str) -> str:
    before, after = source.splitlines(True), changed.splitlines(True)
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    return f"{head} a/{name} b/{name}\n" + "".join(lines)


def _git_diff(
    machine: _Machine, git: str, folder: Path, pairs: Sequence[tuple[str, str, str]]
) -> str:
    for side in ("a", "b"):
        (folder / side).mkdir(parents=True)
    for name, source, changed in pairs:
        (folder / "a" / name).write_text(source, "utf-8")
        (folder / "b" / name).write_text(changed, "utf-8")
    return machine.run(git, "diff", "--no-index", "--no-prefix", "--no-color", "a", "b", cwd=folder)


def _html(machine: _Machine) -> Iterator[Sample]:
    doc = pydoc.HTMLDoc()
    for name in machine.rng.sample(_HTML_MODULES, 28):
        try:
            module = importlib.import_module(name)
            body = doc.document(module, name)
        except Exception:  # a module this build lacks, or cannot document
            continue
        page = doc.page(f"module {name}", body)
        if len(page) > machine.limit:
            size = machine.rng.choice((13_000, 18_000, 24_000, 29_000))
            page = doc.page(f"module {name}", cut_lines(body, size))
        yield Sample("html", f"curl -s http://localhost:8080/{name}.html", "Bash", page)


class _PlainDoc(pydoc.TextDoc):
    """pydoc's text format without overstruck bold."""

    def bold(self, text: str) -> str:
        return text


def _prose(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    plain = _PlainDoc()
    readmes = []
    for dist in machine.dists:
        text = dist.about.get_payload()
        if isinstance(text, str) and len(text) > 600:
            readmes.append((dist, text))
    for dist, text in rng.sample(readmes, min(16, len(readmes))):
        text = cut_lines(text, rng.choice((1_500, 5_000, 12_000, 20_000, 40_000)))
        tool = "mcp__docs__readme"
        yield Sample("prose", f"{tool} {dist.name}", tool, text[: machine.limit])
    for name in rng.sample(_HTML_MODULES, 8):
        try:
            module = importlib.import_module(name)
            text = pydoc.render_doc(module, "Help on %s", renderer=plain)
        except Exception:  # a module this build lacks, or cannot document
            continue
        size = rng.choice((1_200, 4_000, 9_000, 16_000, 28_000))
        yield Sample("prose", f"python3 -m pydoc {name}", "Bash", cut_lines(text, size))
    licenses = [
        path
        for pattern in ("*.dist-info/LICENSE*", "*.dist-info/licenses/LICENSE*")
        for path in sorted(machine.site.glob(pattern))
        if path.is_file()
    ]
    licenses.append(machine.stdlib / "LICENSE.txt")
    for path in machine.some(licenses, 6):
        text = cut_lines(_read(path), machine.limit)
        yield Sample("prose", f"fold -s {path}", "Bash", text, str(path))


def _code(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    for path in machine.some(machine.modules, 30):
        text = machine.window(_read(path), rng.choice((900, 2_500, 6_000, 14_000, 30_000)))
        yield Sample("code", f"cat {path}", "Read", text[: machine.limit], str(path))


def _raised(call: Callable[[], object]) -> str:
    """Return the traceback of the exception that a call raises; empty if it returns."""
    try:
        call()
    except Exception:
        return traceback.format_exc()
    return ""


def _chained(paths: Sequence[Path]) -> object:
    """Read each path as JSON; each failure is raised from the previous one."""
    failure: Exception | None = None
    for path in paths:
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            try:
                raise RuntimeError(f"cannot load settings from {path}") from (failure or error)
            except RuntimeError as wrapped:
                failure = wrapped
    if failure is not None:
        raise failure
    return None


class _Forbid(ast.NodeVisitor):
    """Visits an expression and rejects the name at its innermost level."""

    def visit_Name(self, node: ast.Name) -> None:
        raise NameError(f"name {node.id!r} is not allowed at column {node.col_offset}")


def _tracebacks(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    paths = machine.some(machine.modules, 60)
    missing = machine.scratch / "missing" / "settings.json"
    calls: list[tuple[str, Callable[[], object]]] = [
        ("load.py", lambda: json.loads('{"a": [1, 2,, 3]}')),
        ("open.py", lambda: json.loads(missing.read_text("utf-8"))),
        ("import.py", lambda: importlib.import_module("json.nothing_here")),
        ("run.py", lambda: subprocess.run([str(missing), "--help"], check=True)),
        ("parse.py", lambda: ast.parse("def broken(:\n    pass\n", "broken.py")),
        ("decode.py", lambda: bytes(range(120, 200)).decode("utf-8")),
        ("regex.py", lambda: re.compile("(unclosed [a-z")),
    ]
    for count in (2, 4, 8, 20, 40):
        chosen = paths[:count]
        calls.append((f"settings.py {count}", functools.partial(_chained, chosen)))
    for depth in (6, 15, 30, 45, 70):
        name = rng.choice(("secret", "token", "handle"))
        tree = ast.parse("-" * depth + name, mode="eval")
        calls.append((f"visit.py {depth}", functools.partial(_Forbid().visit, tree)))
    for name, call in calls:
        yield Sample("traceback", f"python3 {name}", "Bash", _raised(call)[: machine.limit])


def _tables(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    for number, folder in enumerate(machine.some([machine.stdlib, *machine.packages], 8)):
        rows = _fit(_entries(folder), (3_000, 9_000, 20_000, 32_000)[number % 4])
        if not rows:
            continue
        cells = [[str(value) for value in row.values()] for row in rows]
        head = list(rows[0])
        if number % 3 == 0:
            text = "\n".join(",".join(row) for row in [head, *cells])
            command = f"list-files --csv {folder}"
        elif number % 3 == 1:
            lines = [" | ".join(row) for row in [head, ["---"] * len(head), *cells]]
            text = "\n".join(f"| {line} |" for line in lines)
            command = f"list-files --markdown {folder}"
        else:
            text = "\n".join("\t".join(row) for row in [head, *cells])
            command = f"list-files --tsv {folder}"
        yield Sample("table", command, "Bash", text)
    for dist in rng.sample(machine.dists, min(6, len(machine.dists))):
        text = "path,hash,size\n" + dist.file("RECORD")
        command = f"record --csv {dist.name}"
        yield Sample("table", command, "mcp__sheets__export", cut_lines(text, machine.limit))
    wide = max((len(dist.name) for dist in machine.dists), default=7)
    lines = [f"{'Package':<{wide}} Version", f"{'-' * wide} -------"]
    lines += [f"{dist.name:<{wide}} {dist.about['Version']}" for dist in machine.dists]
    yield Sample("table", "pip list", "Bash", "\n".join(lines))
    program = shutil.which("ls")
    for folder in machine.some(machine.packages, 3) if program else ():
        text = machine.run(str(program), "-l", str(folder))
        yield Sample("table", f"ls -l {folder}", "Bash", cut_lines(text, machine.limit))


def _configs(machine: _Machine) -> Iterator[Sample]:
    rng = machine.rng
    found: list[Path] = []
    for pattern in ("*.yaml", "*.yml", "*.toml", "*.ini", "*.cfg"):
        for depth in ("*/", "*/*/", "*/*/*/"):
            found += sorted(machine.site.glob(depth + pattern))
    for path in machine.some(found, 12):
        text = cut_lines(_read(path), machine.limit)
        yield Sample("config", f"cat {path}", "Bash", text, str(path))
    rows = _rows(machine)
    for number in range(12):
        rng.shuffle(rows)
        chosen = _fit(rows, (1_500, 5_000, 11_000, 20_000)[number // 3])
        blocks = ["# Installed packages, as exported from this environment.", ""]
        for row in chosen:
            name, summary = row["name"], row["summary"] or "no summary"
            values = {
                key: value
                for key, value in row.items()
                if value is not None and key not in {"name", "summary"}
            }
            if number % 3 == 0:
                blocks += [f"# {summary}", f"{name}:"]
                blocks += [f"  {key}: {json.dumps(value)}" for key, value in values.items()]
            elif number % 3 == 1:
                blocks += ["[[package]]", f'name = "{name}"']
                blocks += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
            else:
                blocks += [f"; {summary}", f"[{name}]"]
                blocks += [f"{key} = {value}" for key, value in values.items()]
            blocks.append("")
        name = ("packages.yaml", "packages.lock", "packages.ini")[number % 3]
        yield Sample("config", f"export-config {name}", "Bash", "\n".join(blocks), name)


def _statuses(machine: _Machine) -> Iterator[Sample]:
    if not machine.git:
        return
    rng = machine.rng
    for number, count in enumerate((8, 30, 90, 200)):
        folder = machine.scratch / f"repo{number}"
        folder.mkdir()
        git = functools.partial(machine.run, machine.git, cwd=folder)
        chosen = [path for path in machine.some(machine.modules, count) if _read(path)]
        names = [f"{path.parent.name}_{path.name}" for path in chosen]
        for path, name in zip(chosen, names, strict=True):
            (folder / name).write_text(cut_lines(_read(path), 6_000), "utf-8")
        git("init", "-q", "-b", "main")
        git("add", *names[: count * 2 // 3])
        git("commit", "-q", "-m", "Import the modules")
        for name in names[: count // 2]:
            path = folder / name
            if rng.random() < 0.2:
                path.unlink()
            else:
                path.write_text(_edited(_read(path), rng, 40), "utf-8")
        git("add", "--", *[name for name in names[: count // 4] if (folder / name).exists()])
        yield Sample("status", "git status", "Bash", cut_lines(git("status"), machine.limit))
        text = cut_lines(git("diff", "--stat", "HEAD"), machine.limit)
        yield Sample("status", "git diff --stat HEAD", "Bash", text)
        git("commit", "-q", "-a", "-m", "Rename the receivers\n\nMechanical, see the notes.")
        text = cut_lines(git("log", "-p", "--no-color"), (6_000, 14_000, 22_000, 30_000)[number])
        yield Sample("diff", "git log -p", "Bash", text)
