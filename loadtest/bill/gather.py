"""Gathers the sessions to be billed: from a folder, recorded on the spot, or generated."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from .generated import session
from .record import NotRecorded, install, record
from .scenarios import CLIENTS, SCENARIOS, Client, project

Sessions = dict[str, list[dict[str, Any]]]


def say(text: str) -> None:
    """Report progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def parser_of(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that :func:`gather` reads."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    clients = Path(tempfile.gettempdir(), "agent-clients")
    parser.add_argument("--clients", type=Path, default=clients, help="where npm installs them")
    parser.add_argument("--generated", action="store_true", help="use no real clients")
    parser.add_argument("--sessions", type=Path, help="a folder of recorded sessions")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--seed", type=int, default=7)
    return parser


def gather(options: argparse.Namespace) -> tuple[Sessions, list[str]]:
    """Return the sessions by name, and which of them real clients sent."""
    if options.sessions:
        files = sorted(options.sessions.glob("*.json"))
        taken = {file.stem: json.loads(file.read_text()) for file in files}
        return taken, list(taken)
    programs = None
    if not options.generated:
        try:
            programs = install(options.clients)
        except NotRecorded as error:
            say(f"!!! NO REAL CLIENTS: {error}; sessions are generated")
    found: Sessions = {}
    recorded: list[str] = []
    for client in CLIENTS:
        for scenario in options.scenario or SCENARIOS:
            name = f"{client}-{scenario}"
            say(f"session {name}")
            if programs is not None:
                try:
                    found[name] = record(scenario, client, programs, options.seed)
                    recorded.append(name)
                    continue
                except NotRecorded as error:
                    say(f"!!! NOT RECORDED {name}: {error}; it is generated")
            found[name] = _generated(scenario, client, options.seed)
    return found, recorded


def _generated(scenario: str, client: Client, seed: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="session-") as folder:
        return session(scenario, client, project(Path(folder, "project"), seed), seed)
