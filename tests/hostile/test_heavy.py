"""Texts crafted against the detectors do not delay other users' answers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from ..farm import Farm, user
from ..texts import conversation, events, ran

KILOBYTE = 1024
CORES = 4
"""Number of concurrent attackers, each a different user."""
DEADLINE = {"x_headroom_deadline_ms": "24000"}
"""Three times the deadline that farms have, for machines a third as fast. The test farms' own
deadline is so long that no delay would be seen."""


def filled(pattern: str, size: int) -> str:
    return (pattern * (size // len(pattern) + 1))[:size]


def texts() -> list[str]:
    """Return the most expensive texts for headroom's detectors, of all sizes."""
    patterns = ["```json\n{", "\n", "\r\n", "{", "<", "<<a", '"', "${", "\\", "/a", "[[{", "* a\n"]
    small = [filled(p, 30 * KILOBYTE) for p in patterns]
    large = [filled(p, 2048 * KILOBYTE) for p in patterns[:4]]
    line = [filled("a<{[ ", 10 * 1024 * KILOBYTE)]
    return [*small, *large, *line]


def test_hostile_texts_do_not_delay_others(target: Farm) -> None:
    over = Event()

    def attack(number: int) -> list[int]:
        found = []
        for place, text in enumerate(texts()):
            if place % CORES == number:
                body = json.dumps(conversation(ran(f"{number} {text}"))).encode()
                found.append(target.post(body, f"attacker-{number}", **DEADLINE).status)
        return found

    def work() -> list[tuple[list[str], int]]:
        name, seen = user(), []
        while not over.is_set() or len(seen) < 3:
            answer = target.post(
                conversation(ran(events(f"{name} {len(seen)}"))), name, **DEADLINE
            ).json
            seen.append((answer["degraded"], answer["tokens_saved"]))
        return seen

    with ThreadPoolExecutor(CORES + 1) as threads:
        honest = threads.submit(work)
        attacks = [threads.submit(attack, number) for number in range(CORES)]
        try:
            statuses = [status for each in attacks for status in each.result()]
        finally:
            over.set()
        seen = honest.result()
    assert set(statuses) == {200}
    # A delayed front end leaves text verbatim and says so: "deadline", "overload".
    assert [each for each in seen if each[0] or each[1] <= 0] == []
