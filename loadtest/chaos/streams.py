"""Clients of the proxy: what they ask the stand-in to play, and whether they get what is due.

A stream that is due whole must have the provider's bytes; one that the provider breaks off must
break off for the client too, after bytes of the provider and none besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from loadtest import stand_in
from loadtest.first_byte import body_of

DEADLINE_SECONDS = 2.0
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_CUT = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError)
_PLAIN = body_of([{"role": "user", "content": "Hello."}])


@dataclass(frozen=True)
class Expected:
    """What a client must get for a play.

    ``body`` None: an error of the farm's own in the provider's shape. ``whole`` False: the answer
    breaks off, after the beginning of ``body``. ``after`` are the seconds that the play itself
    waits before its head.
    """

    status: int
    body: bytes | None
    whole: bool = True
    after: float = 0.0

    def faults(self, got: Got) -> list[str]:
        """Return what is wrong with an answer."""
        found = []
        if got.status != self.status:
            return [f"status {got.status}, not {self.status}"]
        if got.whole != self.whole:
            found.append("whole" if got.whole else "cut")
        if self.body is None:
            if b'"type":"error"' not in got.body.replace(b" ", b""):
                found.append("an error of another shape")
        elif self.whole and got.body != self.body:
            found.append(f"{len(got.body)} bytes that are not the provider's {len(self.body)}")
        elif not (self.body.startswith(got.body) and got.body):
            found.append("bytes that the provider did not send, or none")
        return found


@dataclass
class Got:
    """An answer: its body as far as it came, and whether it came to its end.

    ``saved`` are the tokens that its head says were saved, None if it does not say.
    """

    status: int = 0
    body: bytes = b""
    whole: bool = False
    changed: bool = False
    saved: int | None = None
    head_seconds: float = 0.0


def expected(play: str, idle_seconds: float = 600.0) -> Expected:
    """Return what a client must get; ``idle_seconds`` is the farm's patience with a provider."""
    name, *given = play.split()
    numbers = [int(number) for number in given]
    if name == "text":
        return Expected(200, stand_in.text(*numbers[:1] or [20]))
    if name == "late":
        return Expected(200, stand_in.text(20), after=numbers[0] / 1000)
    if name == "refuse":
        return Expected(numbers[0], stand_in.error_of(numbers[0]))
    if name == "broken":
        return Expected(200, stand_in.BEGIN + stand_in.delta("so far") + stand_in.BROKEN)
    if name == "huge":
        return Expected(200, b"x" * (numbers[0] << 20))
    return {
        "cut": Expected(200, stand_in.BEGIN, whole=False),
        "half": Expected(200, stand_in.BEGIN + stand_in.delta("half")[:30], whole=False),
        "stall": Expected(200, stand_in.BEGIN, whole=False),
        "silent": Expected(504, None, after=idle_seconds),
        "noise": Expected(502, None),
        "noise-events": Expected(200, stand_in.noise()),
        "gone": Expected(502, None),
    }[name]


class Provider:
    """The stand-in, on one port for all of a scenario."""

    def __init__(self) -> None:
        self.plays = stand_in.StandIn()
        self.url = ""
        self._stack = contextlib.AsyncExitStack()

    async def open(self) -> None:
        """Listen, again on the same port."""
        port = int(self.url.rpartition(":")[2] or 0)
        self.url = await self._stack.enter_async_context(stand_in.listening(self.plays, port))

    async def close(self) -> None:
        """Listen no more, and cut all connections."""
        await self._stack.aclose()
        self.plays.drop()


@dataclass
class Streams:
    """All streams of one scenario. ``faults`` says what was wrong with how many.

    ``bodies`` are requests with tool output that the farm compresses; every second stream has one
    of them. ``well`` ended as they should, ``left`` were left by their client, ``told`` say what
    they ``saved``. ``head_ms`` are the times until an answer's head came, without the play's own.
    ``deadline`` are the seconds that the farm has for a request.
    """

    url: str
    bodies: Sequence[bytes]
    rng: random.Random
    idle_seconds: float = 600.0
    deadline: float = DEADLINE_SECONDS
    asked: int = 0
    well: int = 0
    changed: int = 0
    left: int = 0
    told: int = 0
    saved: int = 0
    head_ms: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    _plain: itertools.cycle[bool] = field(default_factory=lambda: itertools.cycle((True, False)))

    async def play(self, plays: Sequence[str], seconds: float, at_once: int = 8) -> None:
        """Ask for plays for some seconds, and read every answer to its end."""
        end = time.monotonic() + seconds

        async def one() -> None:
            while time.monotonic() < end:
                await self.ask(self.rng.choice(plays))
                await asyncio.sleep(self.rng.uniform(0, 0.1))

        await asyncio.gather(*[one() for _ in range(at_once)])

    async def ask(
        self, play: str, *, must: str = "", unchanged: bool = False, body: bytes | None = None
    ) -> Got:
        """Ask once; ``must`` names the play whose answer is due where it is another.

        ``unchanged``: the provider must get the very body.
        """
        plain = next(self._plain)
        sent = body or (_PLAIN if plain else self.rng.choice(self.bodies))
        due = expected(must or play, self.idle_seconds)
        got = await self._get(play, sent)
        self.asked += 1
        self.changed += got.changed
        self._count(got)
        if got.status:
            self.head_ms.append(max(0.0, 1000 * (got.head_seconds - due.after)))
        found = due.faults(got)
        if got.changed and (unchanged or sent is _PLAIN):
            found.append("the request was changed")
        for what in found:
            said = f"{play}: {what}"
            self.faults[said] = self.faults.get(said, 0) + 1
        self.well += not found
        return got

    async def leave(self, play: str, *, after: float) -> None:
        """Ask, and go away some seconds later, whatever has come."""
        self.asked += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after):
                self._count(await self._get(play, self.rng.choice(self.bodies)))
        self.left += 1

    def _count(self, got: Got) -> None:
        self.told += got.saved is not None
        self.saved += got.saved or 0

    async def _get(self, play: str, body: bytes) -> Got:
        got, pieces = Got(), []
        headers = {
            stand_in.PLAY: play,
            "content-type": "application/json",
            "x-maas-username": f"stream-{secrets.token_hex(6)}",
            "x-headroom-deadline-ms": str(round(1000 * self.deadline)),
        }
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
            started = time.monotonic()
            with contextlib.suppress(*_CUT):
                async with session.post(f"{self.url}/v1/messages", data=body, headers=headers) as a:
                    got.head_seconds = time.monotonic() - started
                    got.status = a.status
                    saved = a.headers.get("x-headroom-tokens-saved")
                    got.saved = None if saved is None else int(saved)
                    arrived = a.headers.get(stand_in.BODY)
                    got.changed = arrived is not None and arrived != stand_in.digest(body)
                    async for chunk in a.content.iter_any():
                        pieces.append(chunk)
                    got.whole = True
        got.body = b"".join(pieces)
        return got


def bodies_of(turns: Sequence[Any]) -> list[bytes]:
    """Return the turns' conversations as requests of Anthropic's API."""
    return [body_of(turn.messages) for turn in turns]
