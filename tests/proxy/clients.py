"""The real command lines, Claude Code and Codex, as clients of a provider.

They come from npm: ``npm i @anthropic-ai/claude-code @openai/codex``. ``AGENT_CLIENTS`` names the
folder it was called in, where the commands are not on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..documented import examples
from .saying import Anthropic, Part, Responses

_SECONDS = 180


class Client(ABC):
    """A client that works in ``folder``, which is its home too."""

    name: ClassVar[str]
    api: ClassVar[Any]
    model: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """Find the command; skip the test where it is not installed."""
        chosen = os.environ.get("AGENT_CLIENTS", "")
        place = f"{chosen}/node_modules/.bin" if chosen else None
        found = shutil.which(self.name, path=place) or shutil.which(self.name)
        if found is None:
            pytest.skip(f"{self.name} IS NOT INSTALLED: its whole sessions are not tested here")
        self.command = found
        self.folder = folder

    def says(self, prompt: str, url: str, *, again: bool = False) -> str:
        """Return what the client prints for a prompt, with ``url`` as its provider.

        ``again``: it goes on with its last session.
        """
        started = self.starts(prompt, url, again=again)
        try:
            said, fault = started.communicate(timeout=_SECONDS)
        finally:
            self.end(started, signal.SIGKILL)
        assert started.returncode == 0, said[-2000:] + fault[-2000:]
        return said

    def starts(self, prompt: str, url: str, *, again: bool = False) -> subprocess.Popen[str]:
        """Start the client on a prompt, in a process group of its own."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        return subprocess.Popen(
            self._line(prompt, again=again),
            cwd=self.folder,
            env={**environment, **self._settings(url)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def end(started: subprocess.Popen[str], by: signal.Signals) -> None:
        """Send a signal to a started client and its children, if there are any left."""
        with suppress(ProcessLookupError):
            os.killpg(started.pid, by)

    @abstractmethod
    def runs(self, line: str, identity: str) -> Part:
        """Return a model's call that makes the client run a command."""

    @abstractmethod
    def _line(self, prompt: str, *, again: bool) -> list[str]: ...

    @abstractmethod
    def _settings(self, url: str) -> dict[str, str]: ...


class ClaudeCode(Client):
    name = "claude"
    api = Anthropic
    model = "claude-opus-4-8"

    def runs(self, line: str, identity: str) -> Part:
        given = json.dumps({"command": line, "description": "run"})
        return ("own", f"toolu_{identity}", "Bash", given)

    def _line(self, prompt: str, *, again: bool) -> list[str]:
        options = ["--model", self.model, "--allowedTools", "Bash"]
        return [self.command, *(["--continue"] if again else []), "-p", prompt, *options]

    def _settings(self, url: str) -> dict[str, str]:
        return {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "sk-test",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }


class Codex(Client):
    name = "codex"
    api = Responses
    model = "gpt-5.5"

    def runs(self, line: str, identity: str) -> Part:
        return ("own", f"call_{identity}", "exec_command", json.dumps({"cmd": line}))

    def _line(self, prompt: str, *, again: bool) -> list[str]:
        options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        return [self.command, "exec", *options, *(["resume", "--last"] if again else []), prompt]

    def _settings(self, url: str) -> dict[str, str]:
        """Write the documented configuration with this address."""
        documented = examples("docs/integration.md")["codex"]
        ours = documented.replace("http://127.0.0.1:8788", url)
        assert ours != documented
        (self.folder / ".codex").mkdir(exist_ok=True)
        settings = self.folder / ".codex" / "config.toml"
        settings.write_text(f'model = "{self.model}"\n{ours}')
        return {"OPENAI_API_KEY": "sk-test"}


CLIENTS: list[type[Client]] = [ClaudeCode, Codex]
