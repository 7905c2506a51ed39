"""Sessions of the real clients' shape, for machines that have no npm.

The tool results are real: the scenario's commands are run, its files read and edited. Around
them stands what the clients send: 24 tools of about 64 KB and a system prompt of 6 KB with
three marks for Claude Code, ten tools and 27 KB of instructions for Codex; the mark on the newest
message moves on with each turn. Tool definitions and prompts are filled with the
documentation of the standard library, so their sizes are right and their words are not.
"""

from __future__ import annotations

import importlib
import json
import pydoc
import random
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from .scenarios import CLIENTS, QUESTION, SCENARIOS, Client, Step, call_of, command_of

Body = dict[str, Any]
MODELS: dict[Client, str] = {"claude": "claude-opus-4-8", "codex": "gpt-5.5"}
_MARK = {"type": "ephemeral"}
_TOOL_NAMES = (
    "Agent", "Bash", "CronCreate", "CronDelete", "CronList", "Edit", "EnterWorktree",
    "ExitWorktree", "Glob", "Grep", "NotebookEdit", "Read", "ReportFindings", "SendMessage",
    "Skill", "TaskCreate", "TaskGet", "TaskList", "TaskOutput", "TaskStop", "WebFetch",
    "WebSearch", "Workflow", "Write",
)  # fmt: skip
_TOOL_CHARS = 2500
_SYSTEM_CHARS = 6000
_INSTRUCTION_CHARS = 27_000
_CUT_CHARS = 30_000
"""Where Claude Code cuts a command's output."""
_MODULES = ("json", "argparse", "logging", "pathlib", "subprocess", "threading", "collections")


@cache
def _documentation() -> str:
    """Return some 300 KB of the standard library's own words."""
    modules = [importlib.import_module(name) for name in _MODULES]
    text = "\n".join(pydoc.plain(pydoc.render_doc(module)) for module in modules)
    return re.sub("0x[0-9a-f]+", "0x0", text)  # addresses differ from process to process


def _text(size: int, chance: random.Random) -> str:
    """Return ``size`` characters from a place that ``chance`` picks."""
    whole = _documentation()
    start = chance.randrange(len(whole) - size)
    return whole[start : start + size]


def session(scenario: str, client: Client, place: Path, seed: int = 0) -> list[Body]:
    """Return the request bodies of a whole session; ``place`` is a project made for it.

    The commands are run in ``place`` and change it.
    """
    chance = random.Random(f"{seed}-{scenario}-{client}")
    build = _claude if client == "claude" else _codex
    steps = [(step, _carry_out(step, place)) for step in SCENARIOS[scenario]()]
    return build(steps, place, chance)


def _carry_out(step: Step, place: Path) -> str:
    """Run a step and return what it prints."""
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/sh", "-c", command_of(step)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    return (done.stdout + done.stderr).rstrip("\n")


def _claude(steps: list[tuple[Step, str]], place: Path, chance: random.Random) -> list[Body]:
    fixed = _claude_frame(chance)
    first = {"type": "text", "text": f"<system-reminder>\n{_text(300, chance)}\n</system-reminder>"}
    messages: list[Body] = [
        {"role": "user", "content": [first, {"type": "text", "text": QUESTION}]},
        {"role": "system", "content": _text(6000, chance)},
    ]
    bodies = [_marked(fixed, messages)]
    for number, (step, output) in enumerate(steps, 1):
        name, given = call_of(step, "claude", place)
        identity = f"toolu_{number:04d}"
        call = {"type": "tool_use", "id": identity, "name": name, "input": given}
        result: Body = {
            "tool_use_id": identity,
            "type": "tool_result",
            "content": _claude_result(step, output, place),
        }
        if step.kind == "run":
            result["is_error"] = False
        messages += [
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]
        bodies.append(_marked(fixed, messages))
    return bodies


def _claude_frame(chance: random.Random) -> Body:
    """Return a request's parts that stay the same."""
    tools = [
        {
            "name": name,
            "description": _text(_TOOL_CHARS, chance),
            "input_schema": {"type": "object", "properties": {"input": {"type": "string"}}},
        }
        for name in _TOOL_NAMES
    ]
    system = [
        {"type": "text", "text": "x-billing: none"},
        {"type": "text", "text": "You are a coding agent.", "cache_control": _MARK},
        {"type": "text", "text": _text(_SYSTEM_CHARS, chance), "cache_control": _MARK},
    ]
    return {"model": MODELS["claude"], "max_tokens": 64_000, "system": system, "tools": tools}


def _claude_result(step: Step, output: str, place: Path) -> str:
    if step.kind == "read":
        numbered = enumerate(output.split("\n"), 1)
        return "\n".join(f"{number}\t{line}" for number, line in numbered)
    if step.kind == "edit":
        return f"The file {place / step.what} has been updated successfully."
    return output[:_CUT_CHARS] or "(no output)"


def _marked(fixed: Body, messages: list[Body]) -> Body:
    """Return a request whose last message of the user carries the mark."""
    at = max(i for i, message in enumerate(messages) if message["role"] == "user")
    *parts, last = messages[at]["content"]
    marked = {**messages[at], "content": [*parts, {**last, "cache_control": _MARK}]}
    return {**fixed, "messages": [*messages[:at], marked, *messages[at + 1 :]]}


def _codex(steps: list[tuple[Step, str]], place: Path, chance: random.Random) -> list[Body]:
    def message(role: str, text: str) -> Body:
        return {
            "type": "message",
            "role": role,
            "content": [{"type": "input_text", "text": text}],
        }

    tools = [
        {"type": "function", "name": f"tool_{i}", "description": _text(700, chance)}
        for i in range(9)
    ]
    tools.append({"type": "function", "name": "exec_command", "description": "Runs a command."})
    items: list[Body] = [
        message("developer", _text(_INSTRUCTION_CHARS, chance)),
        message("user", f"<environment_context>{place}</environment_context>"),
        message("user", QUESTION),
    ]
    fixed = {
        "model": MODELS["codex"],
        "tools": tools,
        "store": False,
        "prompt_cache_key": f"key-{chance.getrandbits(64):x}",
    }
    bodies = [{**fixed, "input": list(items)}]
    for number, (step, output) in enumerate(steps, 1):
        name, given = call_of(step, "codex", place)
        call = {
            "type": "function_call",
            "status": "completed",
            "name": name,
            "arguments": json.dumps(given),
            "call_id": f"call_{number}",
        }
        head = (
            f"Chunk ID: {chance.getrandbits(24):06x}\nWall time: 0.0000 seconds\n"
            f"Process exited with code 0\nOriginal token count: {len(output) // 4}\nOutput:\n"
        )
        result = {
            "type": "function_call_output",
            "call_id": f"call_{number}",
            "output": head + output[:_CUT_CHARS],
        }
        items += [call, result]
        bodies.append({**fixed, "input": list(items)})
    return bodies


def names() -> list[tuple[str, Client]]:
    """Return every scenario with every client."""
    return [(scenario, client) for client in CLIENTS for scenario in SCENARIOS]
