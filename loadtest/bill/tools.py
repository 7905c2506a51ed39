"""Says what tightening tool definitions brings in recorded sessions, and would in system prompts.

    python -m loadtest.bill.tools --sessions DIR

``cut`` are bytes of compact JSON; the change is of the provider's bill for the whole session.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from api.provider.tools import tightened

from .prompt_cache import bill_of

Body = dict[str, Any]


def _raw(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _system_texts(body: Body) -> list[str]:
    told: list[Any] = [body.get("system"), body.get("instructions")]
    messages = body.get("messages") or body.get("input") or []
    told += [m.get("content") for m in messages if m.get("role") in ("system", "developer")]
    texts = []
    for one in told:
        parts = one if isinstance(one, list) else [{"text": one}]
        texts += [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return texts


def row(bodies: list[Body]) -> list[str]:
    """Return a session's cells: bytes of tools and cut, the same of system texts, the change."""
    tools = _raw(bodies[0]["tools"])
    system = _raw([{"description": text} for text in _system_texts(bodies[0])])
    model = str(bodies[0]["model"])
    tight = [{**body, "tools": json.loads(tightened(_raw(body["tools"])))} for body in bodies]
    change = 100 * (bill_of(tight, model).cost / bill_of(bodies, model).cost - 1)
    sizes = [size for raw in (tools, system) for size in (len(raw), len(raw) - len(tightened(raw)))]
    return [*(f"{size:,}" for size in sizes), f"{change:+.2f} %"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bill.tools", description=__doc__)
    parser.add_argument("--sessions", type=Path, required=True, help="a folder of sessions")
    folder: Path = parser.parse_args().sessions
    print("| session | tools, bytes | cut | system texts, bytes | could be cut | bill |")
    print("|---|---|---|---|---|---|")
    for file in sorted(folder.glob("*.json")):
        bodies = [body for body in json.loads(file.read_text()) if body.get("tools")]
        print(f"| {' | '.join([file.stem, *row(bodies)])} |")


if __name__ == "__main__":
    main()
