"""Plays one scenario: a farm, a steady load, a fault, and then all checks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import redis.exceptions

from loadtest.material import Sample, collect
from loadtest.sessions import Call, call_message, fresh_text, result_messages

from . import checks
from .load import PATIENCE_SECONDS, Exchange, Load, Turn, turn_of
from .report import Outcome, StreamsOutcome
from .scenarios import Play, Scenario
from .site import Site, SiteError
from .streams import DEADLINE_SECONDS, Provider, Streams, bodies_of

_WARM_SECONDS = 1.0
_HEALTH_SECONDS = 60.0
_BOOKS_SECONDS = 30.0
_PROBE_CHARS = 5_000
_STREAMED_TURNS = 3
"""Turns whose conversations the proxy's clients send: short, since each comes from a new user."""


class Runner:
    """Plays scenarios with the same material.

    `margin_ms` is what an answer may be late by; `least_health` the seconds that a farm is
    given to be well again at the least, whatever the scenario says; clients are as patient.
    `deadline` are the seconds that the farm has for a streamed request.
    """

    def __init__(
        self,
        turns: list[list[Turn]],
        seconds: float,
        seed: int,
        margin_ms: float,
        least_health: float = 0.0,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._turns = turns
        self._seconds = seconds
        self._rng = random.Random(seed)
        self._margin_ms = margin_ms
        self._least_health = least_health
        self._deadline = deadline
        self._rest: dict[str, list[Any]] = {}

    async def play(self, scenario: Scenario) -> Outcome:
        """Return what a scenario showed."""
        outcome = Outcome(scenario.name)
        async with contextlib.AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
            settings, provider = dict(scenario.settings), None
            if scenario.proxied:
                provider = Provider()
                await provider.open()
                stack.push_async_callback(provider.close)
                settings["anthropic_target_api_url"] = provider.url
            site = Site(Path(directory), cpu=scenario.cpu, gpu=scenario.gpu, **settings)
            try:
                await self._play(scenario, site, provider, outcome)
            except SiteError as error:
                outcome.broken.append(str(error))
            finally:
                site.kill()
            if outcome.broken:
                outcome.broken.append("the farm said:\n" + _tail(site.log))
        return outcome

    async def _play(
        self, scenario: Scenario, site: Site, provider: Provider | None, outcome: Outcome
    ) -> None:
        await site.start()
        patience = max(PATIENCE_SECONDS, self._least_health)
        turns = self._turns[: scenario.clients]
        load = Load(site.url, turns, retry=scenario.retry, patience=patience)
        play = Play(site, load, self._seconds, self._rng, outcome.notes, outcome.broken, provider)
        if provider is not None:
            idle = float(scenario.settings.get("upstream_idle_seconds", 600))
            early = [t for turns in self._turns for t in turns if t.number <= _STREAMED_TURNS]
            bodies = bodies_of(early)
            play.streams = Streams(site.url, bodies, self._rng, idle, self._deadline)
        if await self._full_health(play) is None:
            raise SiteError("not healthy to begin with")
        load.start()
        try:
            await asyncio.sleep(_WARM_SECONDS)
            await scenario.fault(play)
            outcome.health_seconds = await self._full_health(play)
        finally:
            await load.stop()
        if play.streams is not None and provider is not None:
            outcome.streams = await self._ended(play.streams, provider, outcome)
        await self._learn_rest(load)
        counted = await site.counters()
        outcome.again = counted.get("jobs:again", 0)
        await self._check_books(load, play.streams, outcome)
        await self._check_markers(load, outcome)
        self._judge(scenario, load.exchanges, outcome)
        await site.stop()

    # ── full health ─────────────────────────────────────────────────────────────────

    async def _full_health(self, play: Play) -> float | None:
        """Return the seconds until everything works again, None if it does not."""
        start = time.monotonic()
        while time.monotonic() - start < _HEALTH_SECONDS:
            if await self._is_healthy(play):
                return time.monotonic() - start
            await asyncio.sleep(0.1)
        return None

    async def _is_healthy(self, play: Play) -> bool:
        """All processes there, each front end ready, fresh blocks of both pools compressed."""
        try:
            async with play.site.redis() as client:
                if not await play.site.staffed(client):
                    return False
            async with play.load.client(5.0) as client:
                for _ in range(2 * play.site.api):
                    headers = {"connection": "close"}
                    async with client.get(f"{play.site.url}/readyz", headers=headers) as answer:
                        if answer.status != 200:
                            return False
                name = f"probe-{self._rng.getrandbits(32):x}"
                probe = await play.load.ask(self._probe(), name, client)
        except (redis.exceptions.RedisError, aiohttp.ClientError, OSError):
            return False
        if probe.status != 200:
            return False
        answer = json.loads(probe.body)
        return bool(answer["degraded"] == [] and answer["tokens_saved"] > 0)

    def _probe(self) -> Turn:
        """Return a request with fresh blocks for both pools."""
        calls = [
            Call(f"toolu_{kind}", "Bash", {"command": f"show {kind}"}, self._fresh(kind))
            for kind in ("log", "prose")
        ]
        question = {"role": "user", "content": "what did they print"}
        results = result_messages(calls, "anthropic")
        return turn_of("probe", 0, [question, call_message(calls, "anthropic"), *results])

    def _fresh(self, kind: str) -> str:
        return fresh_text(self._rng.choice(_samples(kind)), _PROBE_CHARS, self._rng)

    # ── what is checked ─────────────────────────────────────────────────────────────

    async def _ended(
        self, streams: Streams, provider: Provider, outcome: Outcome
    ) -> StreamsOutcome:
        """Return what became of a scenario's streams, once none is open or time is up."""
        give_up = time.monotonic() + _BOOKS_SECONDS
        while (left := await _still_open(streams.url) + provider.plays.playing) > 0:
            if time.monotonic() > give_up:
                outcome.broken.append(f"{left} streams left open")
                break
            await asyncio.sleep(0.2)
        outcome.broken += [f"{count} times: {what}" for what, count in streams.faults.items()]
        worst = max(streams.head_ms, default=0.0)
        if worst > 1000 * self._deadline + self._margin_ms:
            outcome.broken.append(f"a head came after {worst:.0f} ms")
        if not streams.asked:
            outcome.broken.append("no stream was asked for: nothing was shown")
        well = streams.well + streams.left
        p50 = statistics.median(streams.head_ms or [0.0])
        return StreamsOutcome(streams.asked, well, streams.changed, p50, worst, left)

    async def _learn_rest(self, load: Load) -> None:
        """Have each session's first turn answered at rest, once for all scenarios."""
        async with load.client(8.0) as client:
            for turns in self._turns:
                for turn in turns:
                    if turn.number > 1 or turn.play in self._rest:
                        continue
                    answer = await load.ask(turn, f"rest-{turn.play}", client)
                    found = json.loads(answer.body)
                    if found["degraded"] == []:
                        self._rest[turn.play] = found["messages"]

    async def _check_books(self, load: Load, streams: Streams | None, outcome: Outcome) -> None:
        """Wait for the ledger to equal the answers.

        Of a stream whose client saw no head it is not known whether it was a request.
        """
        requests, tokens = checks.totals(load.exchanges)
        unknown = 0
        if streams is not None:
            requests, tokens = requests + streams.told, tokens + streams.saved
            unknown = streams.asked - streams.told
        give_up = time.monotonic() + _BOOKS_SECONDS
        async with load.client(5.0) as client:
            while True:
                async with client.get(f"{load.url}/stats-history") as answer:
                    life = (await answer.json())["lifetime"]
                more = (life["requests"] - requests, life["tokens_saved"] - tokens)
                known = 0 <= more[0] <= unknown and more[1] >= 0 if unknown else not any(more)
                outcome.ledger = (0, 0) if known else more
                if outcome.ledger == (0, 0) or time.monotonic() > give_up:
                    break
                await asyncio.sleep(0.2)
        if outcome.ledger != (0, 0):
            outcome.broken.append(f"the ledger differs: {outcome.ledger} (requests, tokens)")

    async def _check_markers(self, load: Load, outcome: Outcome) -> None:
        """Have every original back that a user's last answer names."""
        asked = 0
        lost: list[str] = []
        async with load.client(5.0) as client:
            for user, found in checks.hashes(load.exchanges).items():
                for digest in found:
                    headers = {"x-maas-username": user}
                    url = f"{load.url}/v1/retrieve/{digest}"
                    async with client.get(url, headers=headers) as answer:
                        asked += 1
                        if answer.status != 200:
                            lost.append(f"{answer.status} {(await answer.text())[:200]}")
        outcome.notes["originals retrieved"] = asked
        if lost:
            said = f"{len(lost)} of {asked} originals cannot be retrieved: {lost[0]}"
            outcome.broken.append(said)

    def _judge(self, scenario: Scenario, exchanges: list[Exchange], outcome: Outcome) -> None:
        outcome.requests = len(exchanges)
        answered = [one for one in exchanges if one.status == 200]
        outcome.answered = len(answered)
        outcome.tried_again = sum(one.cut > 0 for one in answered)
        late = [one.late_ms for one in answered]
        outcome.worst_ms = round(max(late, default=0.0), 1)
        outcome.degraded = dict(checks.degraded(exchanges))
        outcome.notes["forms changed again"] = checks.changes(exchanges)
        broken = outcome.broken
        wrong = [what for one in exchanges for what in checks.faults_of(one)]
        broken += [f"{wrong.count(what)} times: {what}" for what in dict.fromkeys(wrong)]
        broken += checks.strange_forms(exchanges, self._rest)
        if outcome.worst_ms > self._margin_ms:
            count = sum(ms > self._margin_ms for ms in late)
            broken.append(f"{count} answers late, the worst {outcome.worst_ms:.0f} ms")
        if outcome.again and not scenario.again:
            broken.append(f"{outcome.again} jobs run twice and no worker was killed")
        health = outcome.health_seconds
        allowed = max(scenario.health_seconds, self._least_health)
        if health is None or health > allowed:
            said = "never" if health is None else f"after {health:.1f} s"
            broken.append(f"full health {said}, {allowed:.0f} s allowed")


@functools.cache
def _samples(kind: str) -> list[Sample]:
    return [one for one in collect() if one.kind == kind and len(one.text) > 2 * _PROBE_CHARS]


async def _still_open(url: str) -> int:
    """Return how many answers of a provider the farm passes on."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/stats/farm") as answer,
    ):
        return int((await answer.json())["proxy"]["open_streams"])


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return "\n".join(lines[-12:])
