"""Records sessions of the real command-line clients, Claude Code and Codex, against a stand-in.

The clients come from npm into a folder of their own; the stand-in for the provider is on
loopback and scripts what they do. What they send is kept in memory and never committed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .generated import MODELS
from .provider import Provider
from .scenarios import QUESTION, SCENARIOS, Client, calls_of, project

PACKAGES = ("@anthropic-ai/claude-code", "@openai/codex")
_INSTALL_SECONDS = 300
_SESSION_SECONDS = 240
_CODEX = """model = "{model}"
model_provider = "stand-in"
[model_providers.stand-in]
name = "stand-in"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"""


class NotRecorded(Exception):
    """A client is missing or did not follow the script; the message says why."""


def install(directory: Path) -> Path:
    """Install the clients into ``directory`` where they are not there; return their programs.

    Raises:
        NotRecorded: there is no npm, or it cannot install them.
    """
    programs = directory / "node_modules" / ".bin"
    if all((programs / name).exists() for name in ("claude", "codex")):
        return programs
    npm = shutil.which("npm")
    if npm is None:
        raise NotRecorded("npm is not at hand")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-audit", "--no-fund", *PACKAGES]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotRecorded("npm took too long") from None
    if done.returncode:
        raise NotRecorded(f"npm: {done.stderr.strip()[-300:]}")
    return programs


def record(scenario: str, client: Client, programs: Path, seed: int = 7) -> list[dict[str, Any]]:
    """Return the request bodies of one session of the real client.

    Raises:
        NotRecorded: it ended with an error, took too long, or did not play the scenario.
    """
    steps = SCENARIOS[scenario]()
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        place = project(Path(folder, "project"), seed)
        home = Path(folder, "home")
        home.mkdir()
        with Provider(calls_of(steps, client, place)) as provider:
            command, environment = _started(client, programs, home, provider.url)
            try:
                done = subprocess.run(
                    command,
                    cwd=place,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=_SESSION_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise NotRecorded(f"{client} took too long") from None
            bodies = [body for body in provider.bodies if body.get("tools")]
    if done.returncode or len(bodies) <= len(steps):
        said = (done.stderr or done.stdout).strip()[-200:]
        raise NotRecorded(f"{client} sent {len(bodies)} requests, status {done.returncode}: {said}")
    return bodies


def _started(
    client: Client, programs: Path, home: Path, url: str
) -> tuple[list[str], dict[str, str]]:
    """Return the client's command line and whole environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    if client == "claude":
        environment |= {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "sk-none",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        options = ["--model", MODELS[client], "--allowedTools", "Bash,Read,Edit,Write,Grep,Glob"]
        return [str(programs / "claude"), "-p", QUESTION, *options], environment
    environment["OPENAI_API_KEY"] = "sk-none"
    settings = home / ".codex"
    settings.mkdir()
    (settings / "config.toml").write_text(_CODEX.format(model=MODELS[client], url=url))
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return [str(programs / "codex"), "exec", *options, QUESTION], environment
