"""Clients: what they send, how they retry, and a record of every request.

Each client plays sessions from `loadtest.sessions` turn by turn on a keep-alive connection of
its own. Bodies are made beforehand and answers are read afterwards, so that this process,
which shares the machine with the farm, does little but move bytes while it keeps the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from loadtest.sessions import MESSAGES_PER_TURN, Message, session

MODEL: Final = "claude-sonnet-4-20250514"
KINDS: Final = ("json", "prose", "log", "grep", "prose", "diff", "html")
"""The kinds of fresh block, in turn: both pools have work all the time."""
TURNS: Final = 9
_PLAYS: Final = 2
_FRESH: Final = (3_000, 9_000)
_THINK_SECONDS: Final = 0.06
_RETRY_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 20.0
_CUT: Final = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True)
class Turn:
    """What a client posts with one turn. `play` names the session."""

    play: str
    number: int
    messages: list[Message]
    body: bytes


@dataclass
class Exchange:
    """One request: what was sent, and how it was answered.

    `seconds` is the answered try's time as the client saw it; `cut` how many tries before it
    broke off without an answer; `status` 0 if there never was one.
    """

    turn: Turn
    user: str
    deadline: float
    status: int = 0
    body: bytes = b""
    seconds: float = 0.0
    cut: int = 0
    at: float = 0.0

    @property
    def late_ms(self) -> float:
        """Milliseconds from the deadline to the answer; below zero: it was early."""
        return (self.seconds - self.deadline) * 1000


@dataclass
class Load:
    """Clients against one farm, and all they saw.

    `retry`: cut-off requests are sent again. `patience` is the seconds for which a client waits
    past its deadline for an answer, and for which it tries in all.
    """

    url: str
    material: list[list[Turn]]
    deadline: float = 2.0
    retry: bool = True
    patience: float = PATIENCE_SECONDS
    exchanges: list[Exchange] = field(default_factory=list)
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Start the clients, in closed loop, one for each part of the material."""
        self._stopping = False
        self._tasks = [
            asyncio.create_task(self._client(f"client-{number}", turns))
            for number, turns in enumerate(self.material)
        ]

    async def stop(self) -> None:
        """Let each client finish its request."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def ask(self, turn: Turn, user: str, client: aiohttp.ClientSession) -> Exchange:
        """Send one request until it is answered, under one `x-request-id`."""
        exchange = Exchange(turn, user, self.deadline)
        self.exchanges.append(exchange)
        headers = {
            "content-type": "application/json",
            "x-maas-username": user,
            "x-request-id": secrets.token_hex(8),
            "x-headroom-deadline-ms": str(round(self.deadline * 1000)),
        }
        give_up = time.perf_counter() + self.patience
        while True:
            exchange.at = start = time.perf_counter()
            try:
                async with client.post(
                    f"{self.url}/v1/compress", data=turn.body, headers=headers
                ) as answer:
                    body = await answer.read()
                    exchange.seconds = time.perf_counter() - start
                    exchange.status, exchange.body = answer.status, body
                    return exchange
            except _CUT:
                exchange.cut += 1
                if not self.retry or time.perf_counter() > give_up:
                    return exchange
                await asyncio.sleep(_RETRY_SECONDS)

    async def flood(self, rate: float, seconds: float) -> list[Exchange]:
        """Send `rate` requests a second for some seconds, answered or not (open loop)."""
        users = itertools.cycle([f"flood-{n}-{secrets.token_hex(3)}" for n in range(8)])
        first = [turn for turns in self.material for turn in turns if turn.number <= 3]
        before = len(self.exchanges)
        async with self.client(self.deadline) as client:
            tasks = []
            start = time.perf_counter()
            for number in range(round(rate * seconds)):
                await asyncio.sleep(start + number / rate - time.perf_counter())
                turn = first[number % len(first)]
                user = f"{next(users)}-{number // len(first)}"
                tasks.append(asyncio.create_task(self.ask(turn, user, client)))
            await asyncio.gather(*tasks)
        return self.exchanges[before:]

    @contextlib.asynccontextmanager
    async def client(self, deadline: float) -> AsyncIterator[aiohttp.ClientSession]:
        """Yield an HTTP client that keeps its connections."""
        timeout = aiohttp.ClientTimeout(total=deadline + self.patience, sock_connect=5)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
        ) as client:
            yield client

    async def _client(self, name: str, turns: list[Turn]) -> None:
        rng = random.Random(name)
        async with self.client(self.deadline) as client:
            for again in itertools.count():
                for turn in turns:
                    if self._stopping:
                        return
                    await self.ask(turn, f"{name}-{again}", client)
                    await asyncio.sleep(rng.uniform(0, 2 * _THINK_SECONDS))


def material(clients: int, seed: int) -> list[list[Turn]]:
    """Return what each client plays, turn after turn; a function of the seed."""
    made = []
    for client in range(clients):
        kinds = deque(KINDS)
        kinds.rotate(-client)
        turns: list[Turn] = []
        for play in range(_PLAYS):
            number = seed * 1000 + client * _PLAYS + play
            turns += _turns(number, tuple(kinds))
        made.append(turns)
    return made


def _turns(seed: int, kinds: tuple[str, ...]) -> Iterator[Turn]:
    messages = session(seed, TURNS, kinds=kinds, fresh=_FRESH)
    for number in range(1, TURNS + 1):
        yield turn_of(f"session-{seed}", number, messages[: number * MESSAGES_PER_TURN])


def turn_of(play: str, number: int, messages: list[dict[str, Any]]) -> Turn:
    """Return a turn with its body."""
    body = json.dumps({"messages": messages, "model": MODEL}).encode()
    return Turn(play, number, messages, body)
