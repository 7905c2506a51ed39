"""The real command lines, Claude Code and Codex, through the farm onto the scripted provider.

They come from npm: ``npm i @anthropic-ai/claude-code @openai/codex``. ``AGENT_CLIENTS`` names the
folder it was called in, where the commands are not on the path.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ..documented import examples
from ..farm import Farm
from ..texts import events
from .saying import RETRIEVE, Anthropic, Part, Responses
from .scripted import Asked, Said, ScriptedProvider

_HASH = re.compile(r"(?:<<ccr:|hash=)([0-9a-f]{12,24})")
_SECONDS = 180
_PROMPT = "Find out what failed in the build."


def command(name: str) -> str:
    """Return the path of a client's command; skip the test where it is not installed."""
    folder = os.environ.get("AGENT_CLIENTS", "")
    place = f"{folder}/node_modules/.bin" if folder else None
    found = shutil.which(name, path=place) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} IS NOT INSTALLED: its whole sessions are not tested here")
    return found


def script(api: Any, steps: list[Part]) -> Callable[[Asked], Said]:
    """Answer requests that offer tools with one step after the other, others with a text."""
    left = list(steps)

    def answer(asked: Asked) -> Said:
        body = asked.json
        if not body.get("tools") or not left:
            return Said(api.events(("text", "All done.")))
        step = left.pop(0)
        if step[0] == "get":
            found = _HASH.findall(json.dumps(body[api.array]))
            step = ("get", step[1], found[-1])
        return Said(api.events(("think", "Hm."), step))

    return answer


def run(line: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a client in ``folder`` and return what it printed."""
    (folder / "build.log").write_text(events("b", 220))
    done = subprocess.run(
        line,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def model_calls(provider: ScriptedProvider, api: Any) -> list[Asked]:
    """Return the requests of the conversation itself."""
    calls = [a for a in provider.asked if a.path.split("?")[0] == api.path]
    return [asked for asked in calls if asked.json.get("tools")]


def check(provider: ScriptedProvider, api: Any) -> None:
    """Hold a session of three tool calls and one retrieval against what it must be."""
    calls = model_calls(provider, api)
    assert len(calls) == 5
    tools = [[t.get("name") for t in asked.json["tools"]] for asked in calls]
    assert RETRIEVE not in tools[0]
    assert tools[1][-1] == RETRIEVE
    assert tools[1:] == [tools[1]] * 4
    text = events("b", 220)
    assert text not in json.dumps(calls[1].json)
    assert json.dumps(text)[1:-1] in json.dumps(calls[2].json[api.array][-1])
    items = [_plain(asked.json[api.array]) for asked in calls]
    for before, after in pairwise(items):
        assert after[: len(before)] == before


def _plain(of: Any) -> Any:
    """Return a conversation without cache marks, which move from turn to turn."""
    if isinstance(of, dict):
        return {name: _plain(value) for name, value in of.items() if name != "cache_control"}
    return [_plain(one) for one in of] if isinstance(of, list) else of


def test_claude_code_ends_its_session_well(
    proxy: Farm, provider: ScriptedProvider, tmp_path: Path
) -> None:
    claude = command("claude")
    steps: list[Part] = [
        ("own", f"toolu_{n}", "Bash", json.dumps({"command": line, "description": "run"}))
        for n, line in enumerate(["cat build.log", "echo one", "echo two"])
    ]
    provider.will_say(*[script(Anthropic, [steps[0], ("get", "r1"), *steps[1:]])] * 50)
    line = [claude, "-p", _PROMPT, "--model", "claude-opus-4-8", "--allowedTools", "Bash"]
    said = run(
        line,
        tmp_path,
        {
            "ANTHROPIC_BASE_URL": proxy.url,
            "ANTHROPIC_API_KEY": "sk-test",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
    )
    assert "All done." in said
    check(provider, Anthropic)


def test_codex_ends_its_session_well(
    proxy: Farm, provider: ScriptedProvider, tmp_path: Path
) -> None:
    codex = command("codex")
    settings = tmp_path / ".codex"
    settings.mkdir()
    documented = examples("docs/integration.md")["codex"]
    ours = documented.replace("http://127.0.0.1:8788", proxy.url)
    assert ours != documented
    (settings / "config.toml").write_text(f'model = "gpt-5.5"\n{ours}')
    steps: list[Part] = [
        ("own", f"call_{n}", "exec_command", json.dumps({"cmd": line}))
        for n, line in enumerate(["cat build.log", "echo one", "echo two"])
    ]
    provider.will_say(*[script(Responses, [steps[0], ("get", "r1"), *steps[1:]])] * 50)
    line = [codex, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    said = run([*line, _PROMPT], tmp_path, {"OPENAI_API_KEY": "sk-test"})
    assert "All done." in said
    check(provider, Responses)
