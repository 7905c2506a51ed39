"""Says where the bill of recorded sessions lies: by how much it falls without each kind of block.

    python -m loadtest.bill.where --sessions DIR

``results`` are all tools' results together: no service that shortens results alone saves more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .prompt_cache import bill_of

Body = dict[str, Any]
Emptied = Callable[[Body, Mapping[str, str]], bool]


def _of_tool(*names: str) -> Emptied:
    """Return a test for the results of tools with these names; without a name, of any."""

    def test(block: Body, tools: Mapping[str, str]) -> bool:
        return block["kind"] == "result" and (not names or tools.get(block["call"], "") in names)

    return test


def _other_tool(block: Body, tools: Mapping[str, str]) -> bool:
    known = ("Bash", "Read", "exec_command", "shell")
    return block["kind"] == "result" and tools.get(block["call"], "") not in known


KINDS: dict[str, Emptied] = {
    "tools": lambda block, tools: block["kind"] == "tools",
    "system": lambda block, tools: block["kind"] in ("system", "system message"),
    "user": lambda block, tools: block["kind"] == "user message",
    "assistant": lambda block, tools: block["kind"] == "assistant message",
    "calls": lambda block, tools: block["kind"] == "call",
    "commands": _of_tool("Bash", "exec_command", "shell"),
    "reads": _of_tool("Read"),
    "others": _other_tool,
    "results": _of_tool(),
}


def without(body: Body, emptied: Emptied) -> Body:
    """Return the request with the blocks of a kind emptied."""
    tools = _names(body)
    left = dict(body)
    for field in ("tools", "system", "instructions"):
        kind = "tools" if field == "tools" else "system"
        if emptied({"kind": kind, "call": ""}, tools):
            left.pop(field, None)
    for field in ("messages", "input"):
        if field in left:
            left[field] = [_message(message, emptied, tools) for message in left[field]]
    return left


def _names(body: Body) -> dict[str, str]:
    """Return each call's tool."""
    found = {}
    for item in _blocks(body):
        if item.get("type") in ("tool_use", "function_call", "custom_tool_call"):
            found[str(item.get("call_id") or item.get("id"))] = str(item.get("name"))
    return found


def _blocks(body: Body) -> Iterable[Body]:
    for message in body.get("messages") or body.get("input") or []:
        content = message.get("content")
        yield message
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def _message(message: Body, emptied: Emptied, tools: Mapping[str, str]) -> Body:
    if message.get("type") in ("function_call_output", "custom_tool_call_output"):
        gone = emptied({"kind": "result", "call": message.get("call_id")}, tools)
        return {**message, "output": ""} if gone else message
    if message.get("type") in ("function_call", "custom_tool_call"):
        field = "arguments" if "arguments" in message else "input"
        gone = emptied({"kind": "call", "call": ""}, tools)
        return {**message, field: ""} if gone else message
    role = "system" if message.get("role") == "developer" else message.get("role")
    content = message.get("content")
    if isinstance(content, str):
        gone = emptied({"kind": f"{role} message", "call": ""}, tools)
        return {**message, "content": ""} if gone else message
    parts = [_part(part, str(role), emptied, tools) for part in content or []]
    return {**message, "content": parts} if isinstance(content, list) else message


def _part(part: Body, role: str, emptied: Emptied, tools: Mapping[str, str]) -> Body:
    if part.get("type") == "tool_result":
        gone = emptied({"kind": "result", "call": part.get("tool_use_id")}, tools)
        return {**part, "content": ""} if gone else part
    if part.get("type") == "tool_use":
        gone = emptied({"kind": "call", "call": ""}, tools)
        return {**part, "input": {}} if gone else part
    gone = "text" in part and emptied({"kind": f"{role} message", "call": ""}, tools)
    return {**part, "text": ""} if gone else part


def shares(bodies: list[Body]) -> dict[str, float]:
    """Return by how many per cent the bill falls without each kind of block."""
    model = str(bodies[0]["model"])
    whole = bill_of(bodies, model).cost
    return {
        kind: 100 * (1 - bill_of([without(body, test) for body in bodies], model).cost / whole)
        for kind, test in KINDS.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bill.where", description=__doc__)
    parser.add_argument("--sessions", type=Path, required=True, help="a folder of sessions")
    folder: Path = parser.parse_args().sessions
    print(f"| session | requests | {' | '.join(KINDS)} |")
    print(f"|---|---|{'---|' * len(KINDS)}")
    sums: dict[str, list[dict[str, float]]] = {}
    for file in sorted(folder.glob("*.json")):
        bodies = json.loads(file.read_text())
        found = shares(bodies)
        sums.setdefault(file.stem.partition("-")[0], []).append(found)
        cells = " | ".join(f"{share:.1f} %" for share in found.values())
        print(f"| {file.stem} | {len(bodies)} | {cells} |")
    for client, rows in sums.items():
        means = (sum(row[kind] for row in rows) / len(rows) for kind in KINDS)
        print(f"| **{client}, mean** | | {' | '.join(f'**{mean:.1f} %**' for mean in means)} |")


if __name__ == "__main__":
    main()
