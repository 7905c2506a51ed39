"""``headroom-farm demo URL``: compresses a real conversation and prints savings and times.

Its tool output is about this machine: its installed packages and its standard library.
"""

from __future__ import annotations

import difflib
import http.client
import importlib.metadata
import json
import pydoc
import secrets
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.errors import DemoError
from shared.jobs import engines_of

_CHARS = 16_000
_TIMEOUT_SECONDS = 30
_LIBRARY = Path(textwrap.__file__).parent


class Row(NamedTuple):
    """One line of the table: tokens before and after, engines, milliseconds."""

    what: str
    before: int
    after: int
    engines: str
    milliseconds: float
    degraded: list[str]


def demo(url: str, token: str | None = None) -> None:
    """Post each kind of tool output, and then all of them as one conversation; print a table.

    ``token`` is a bearer token, for a farm that requires one.

    Raises:
        DemoError: The service cannot be reached, answers with an error, saved nothing, or could
            not do part of the work, for example because a pool has no workers.
    """
    if urlsplit(url).scheme != "http" or not urlsplit(url).netloc:
        raise DemoError(f"not an http:// URL: {url}")
    user = f"demo-{secrets.token_hex(6)}"
    rows = []
    whole: list[dict[str, Any]] = [{"role": "user", "content": "What does this machine run?"}]
    for number, (kind, command, text) in enumerate(_outputs()):
        turn = _turn(f"call_{number}", command, text)
        rows.append(_post(url, token, f"{user}-{kind}", kind, [whole[0], *turn]))
        whole += turn
    rows.append(_post(url, token, user, "all of it", whole))
    rows.append(_post(url, token, user, "all of it, again", whole))
    print(_table(rows))
    undone = [f"{row.what} ({', '.join(row.degraded)})" for row in rows if row.degraded]
    if undone:
        raise DemoError(f"not compressed: {', '.join(undone)}")
    last = rows[-1]
    if last.after >= last.before:
        raise DemoError("nothing was saved")
    saved = last.before - last.after
    print(
        f"\nsaved {saved} of {last.before} tokens ({saved / last.before:.0%}); "
        f"a turn with nothing new took {last.milliseconds:.1f} ms"
    )


def _outputs() -> Iterator[tuple[str, str, str]]:
    """Yield (kind, command, output) for each kind of output that the farm has an engine for."""
    packages = [
        {
            "name": d.metadata["Name"],
            "version": d.version,
            "files": len(d.files or []),
            "requires": len(d.requires or []),
        }
        for d in importlib.metadata.distributions()
    ]
    yield "json", "pip list --format json", json.dumps(packages * (1 + 120 // len(packages)))
    modules = sorted(_LIBRARY.glob("*.py"))
    yield "logs", "python build.py", _log(modules)
    yield "grep", "grep -rn 'def ' Lib", _grep(modules)
    yield "diff", "git diff", _diff(_LIBRARY / "argparse.py")
    page = pydoc.HTMLDoc().document(textwrap)
    yield "html", "curl docs/textwrap.html", f"<!DOCTYPE html><html><body>{page}</body></html>"
    names = ("execmodel", "debugger", "function")
    yield "text", f"pydoc {' '.join(names)}", "\n\n".join(topics[name] for name in names)


def _log(modules: list[Path]) -> str:
    """Return the log of compiling the standard library's modules."""
    lines = []
    for module in modules:
        source = module.read_text("utf-8", "replace")
        start = time.perf_counter()
        compile(source, str(module), "exec")
        spent = (time.perf_counter() - start) * 1000
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        lines.append(f"{stamp} INFO build: compiled {module.name} in {spent:.1f} ms")
        if len(lines) == 120:
            break
    return "\n".join(lines)


def _grep(modules: list[Path]) -> str:
    found = (
        f"Lib/{module.name}:{number}:{line}"
        for module in modules
        for number, line in enumerate(module.read_text("utf-8", "replace").splitlines(), 1)
        if line.lstrip().startswith("def ")
    )
    text = ""
    for line in found:
        text += line + "\n"
        if len(text) > _CHARS:
            break
    return text


def _diff(module: Path) -> str:
    before = module.read_text("utf-8").splitlines(keepends=True)
    after = [line.replace("self", "this") if n % 29 == 0 else line for n, line in enumerate(before)]
    name = f"Lib/{module.name}"
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", n=8)
    return f"diff --git a/{name} b/{name}\nindex 1234567..89abcde 100644\n" + "".join(lines)


def _turn(identity: str, command: str, text: str) -> list[dict[str, Any]]:
    """Return the two messages of one command, in Anthropic's format."""
    use = {"type": "tool_use", "id": identity, "name": "Bash", "input": {"command": command}}
    result = {"type": "tool_result", "tool_use_id": identity, "content": text}
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


def _post(url: str, token: str | None, user: str, what: str, messages: list[dict[str, Any]]) -> Row:
    body = json.dumps({"messages": messages, "model": "claude-sonnet-4-20250514"})
    headers = {"content-type": "application/json", "x-maas-username": user}
    if token:
        headers["authorization"] = f"Bearer {token}"
    parts = urlsplit(url)
    start = time.perf_counter()
    try:
        connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECONDS)
        connection.request("POST", f"{parts.path.rstrip('/')}/v1/compress", body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise DemoError(f"no answer from {url}: {error}") from None
    spent = (time.perf_counter() - start) * 1000
    if answer.status != 200:
        raise DemoError(f"{url} answered {answer.status} {answer.reason}")
    try:
        found = json.loads(data)
        before, after = found["tokens_before"], found["tokens_after"]
        return Row(what, before, after, _engines(found), spent, found["degraded"])
    except (ValueError, KeyError, TypeError):
        raise DemoError(f"{url} is not a headroom-farm") from None


def _engines(answer: dict[str, Any]) -> str:
    """Return the engines named in ``transforms_applied``."""
    names = engines_of(answer["transforms_applied"])
    return ", ".join(names) or ", ".join(answer["degraded"]) or "-"


def _table(rows: list[Row]) -> str:
    lines = [("", "before", "after", "saved", "ms", "engine")]
    for row in rows:
        share = 1 - row.after / row.before
        spent = f"{row.milliseconds:.1f}"
        lines.append(
            (row.what, str(row.before), str(row.after), f"{share:.0%}", spent, row.engines)
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
