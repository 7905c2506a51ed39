"""HEADROOM_MEMO_BYTES limits a front end's memory, for any number of users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..farm import Farm, Process, user
from ..texts import conversation

MEMO = 8 * 2**20
TEXT = 200_000
"""Characters of a user's message: kept by the front end, and not compressed."""


def _resident(api: Process) -> int:
    """Return the bytes resident in the front end's largest process."""
    sizes = [
        int(line.split()[1]) * 1024
        for pid in [api.pid, *api.children()]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    ]
    return max(sizes)


def test_memory_of_front_end_stops_growing(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(memo_bytes=MEMO)
    farm.start_redis()
    api = farm.start_api()
    idle = _resident(api)

    def come(users: int) -> None:
        for _ in range(users):
            said = [{"role": "user", "content": user() + " says much. " * (TEXT // 12)}]
            assert farm.post(conversation(said), user()).status == 200

    come(80)  # twice the limit
    full = _resident(api)
    come(160)  # four times the limit more
    grown = _resident(api) - full
    assert full - idle < 4 * MEMO
    assert grown < MEMO, f"{grown / 2**20:.0f} MiB more, of {160 * TEXT / 2**20:.0f} posted"
