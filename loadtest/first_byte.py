"""Measures how much a proxy delays the first byte of a streamed answer.

``python -P -m loadtest.first_byte`` plays a growing session of real command output, in Anthropic's
format, against a stand-in provider that answers at once; requests go directly and through a farm,
alternately. Each turn with a large block is sent twice: with that block new, and again with nothing
new. For both it prints the median time to the first byte in milliseconds, direct and through the
farm.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .bench.servers import Servers
from .sessions import MESSAGES_PER_TURN, growing
from .stand_in import own_process

TURNS = 40
MODEL = "claude-sonnet-4-5"
FRESH, NOTHING_NEW = "fresh block", "nothing new"
KINDS = (FRESH, NOTHING_NEW)
_LARGE = 9_000
"""JSON characters of a turn whose tool result the farm compresses; the others have under 8000."""


class Client:
    """One kept connection, and the times to the first byte on it in seconds, by kind and turn."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        self.times: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}

    def ask(self, kind: str, turn: int, body: bytes) -> None:
        """Send one request and record the time to the answer's first byte."""
        headers = {"content-type": "application/json", "x-api-key": "first-byte"}
        started = time.perf_counter()
        self._connection.request("POST", "/v1/messages", body, headers)
        answer = self._connection.getresponse()
        answer.read(1)
        self.times[kind][turn] = time.perf_counter() - started
        if answer.status != 200 or not answer.read():
            raise http.client.HTTPException(f"status {answer.status}")


def brings_block(messages: Sequence[Any]) -> bool:
    """Return whether a turn's newest tool result is large: two of three are."""
    return len(json.dumps(messages[-MESSAGES_PER_TURN:])) > _LARGE


def play(urls: Mapping[str, str], turns: Sequence[Any]) -> dict[str, Client]:
    """Send a session's turns to all addresses, alternately; return their clients."""
    clients = {name: Client(url) for name, url in urls.items()}
    for number, messages in enumerate(turns):
        if not brings_block(messages):
            continue
        body = body_of(messages)
        for kind in KINDS:
            for client in clients.values():
                client.ask(kind, number, body)
    return clients


def body_of(messages: Any) -> bytes:
    """Return a request of Anthropic's Messages API."""
    asked = {"model": MODEL, "max_tokens": 9, "stream": True, "messages": messages}
    return json.dumps(asked).encode()


def main() -> None:
    """Start both, play, and print a line of JSON for each kind of request."""
    with (
        own_process() as provider,
        tempfile.TemporaryDirectory() as folder,
        Servers(Path(folder)) as servers,
    ):
        farm = servers.farm("farm", settings={"anthropic_target_api_url": provider})
        turns = [messages for _, messages in growing(1, TURNS)]
        clients = play({"direct": provider, "farm": farm.url}, turns)
        for kind in KINDS:
            p50 = {
                f"{name}_ms": round(1000 * statistics.median(client.times[kind].values()), 2)
                for name, client in clients.items()
            }
            asked = len(clients["direct"].times[kind])
            print(json.dumps({"request": kind, **p50, "turns": asked}))


if __name__ == "__main__":
    main()
