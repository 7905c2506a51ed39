"""Savings by content type: the farm and headroom.compress() on the same blocks."""

from __future__ import annotations

import json
import random
from collections import defaultdict

from loadtest.http import Connection
from loadtest.material import collect
from loadtest.scenarios import MODEL, Conversation
from loadtest.sessions import Call, call_message, fresh_text, result_messages, tool_input
from loadtest.target import Target

KINDS = ("json", "log", "grep", "diff", "html", "prose")
_SIZES = (6_000, 12_000, 20_000, 28_000)


def savings(target: Target, blocks: int, *, seed: int, prefix: str) -> dict[str, dict[str, float]]:
    """Return per cent of tokens saved, by content type: the farm's and headroom's."""
    from loadtest.peers.inline import compress

    rng = random.Random(f"savings {seed}")
    pools = defaultdict(list)
    for sample in collect():
        if sample.kind in KINDS and len(sample.text) > _SIZES[0]:
            pools[sample.kind].append(sample)
    found: dict[str, dict[str, float]] = {}
    with Connection(target.url) as connection:
        for kind in KINDS:
            before = {"farm": 0, "headroom": 0}
            saved = {"farm": 0, "headroom": 0}
            for number in range(blocks):
                sample = rng.choice(pools[kind])
                text = fresh_text(sample, _SIZES[number % len(_SIZES)], rng)
                tool = "mcp__workspace__run" if sample.tool in {"Read", "Grep"} else sample.tool
                call = Call(f"toolu_{rng.getrandbits(64):x}", tool, tool_input(sample, tool), text)
                messages = [
                    {"role": "user", "content": "Run it."},
                    call_message([call], "anthropic"),
                    *result_messages([call], "anthropic"),
                ]
                body = Conversation(messages).post(connection, f"{prefix}s", len(messages))
                answer = json.loads(body)
                before["farm"] += answer["tokens_before"]
                saved["farm"] += answer["tokens_saved"]
                result = compress(messages, model=MODEL)
                before["headroom"] += result.tokens_before
                saved["headroom"] += max(0, result.tokens_saved)
            found[kind] = {name: 100 * saved[name] / before[name] for name in before}
    return found
