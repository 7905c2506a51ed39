"""Counts how often models ask for shortened outputs, and pauses engines that shorten too much.

A model asks for an output again by retrieving its original (the first time counts) or by
repeating the call that printed it. If that happens too often for an engine and a tool, the engine
is paused: it is not used on that tool's outputs for a while. Counts and pauses are kept in Redis
by scope: a tenant, or all users without a tenant. They are written every second, so a killed
process loses at most the last second.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from shared import clock, keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.policy.tool_rules import TOOL_CHARS
from shared.scripts import script
from shared.settings import Settings

from .background_tasks import end, every, supervise
from .redis_guard import RedisGuard

_log = structlog.get_logger(__name__)
_EVERY_SECONDS = 1.0
HALF_LIFE_SECONDS = 86_400
"""Half-life of counts, in seconds."""
_MOST_PAIRS = 500
"""Pairs of engine and tool counted per scope; bounded, because clients choose tool names."""
_MOST_PAUSES = 1000
_SCOPES_SHOWN = 50
_SEPARATOR = "\x1f"
_unpack = msgspec.msgpack.Decoder(tuple[float, float, float, float]).decode
_unpack_counts = msgspec.msgpack.Decoder(tuple[float, float, float]).decode


class Pause(NamedTuple):
    """An engine's pause on a tool's outputs, from ``since`` until ``until`` (epoch seconds).

    The reason is that ``asked_back`` of ``shortened`` outputs were asked for again; both are
    decayed counts.
    """

    scope: str
    engine: str
    tool: str
    since: float
    until: float
    shortened: float
    asked_back: float


class Feedback:
    """Counts outputs of this process, and knows the pauses of all processes."""

    def __init__(self, settings: Settings, queues: RedisGuard) -> None:
        self._settings = settings
        self._queues = queues
        self._count = queues.client.register_script(script("count_retrievals"))
        self._noted: dict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)
        self._task: asyncio.Task[None] | None = None
        self._pauses: dict[str, tuple[tuple[str, str], ...]] = {}
        self.pauses: list[Pause] = []

    async def start(self) -> None:
        """Read the pauses, then keep them and the counts up to date."""
        await self.settle()
        self._task = supervise("feedback", lambda: every(_EVERY_SECONDS, self.settle))

    async def stop(self) -> None:
        """Write the remaining counts, if Redis is available."""
        await end([self._task])
        await self.settle()

    def shortened(self, user: str, engine: str, tool: str) -> None:
        """Count an output of ``tool`` that ``engine`` shortened."""
        self._noted[scope_of(user)][engine, _plain(tool), "shortened"] += 1

    def asked_back(self, user: str, engine: str, tool: str) -> None:
        """Count a shortened output that the model asked for again."""
        self._noted[scope_of(user)][engine, _plain(tool), "back"] += 1

    def paused(self, user: str) -> tuple[tuple[str, str], ...]:
        """Return the (engine, tool) pairs that are paused for ``user``, in order."""
        return self._pauses.get(scope_of(user), ())

    async def settle(self) -> None:
        """Write the counts, and read the pauses."""
        deadline = Deadline.after(self._settings.redis_timeout)
        noted, self._noted = self._noted, defaultdict(Counter)
        try:
            for scope, counted in noted.items():
                await self._write(scope, counted, deadline)
            await self._read(deadline)
        except Degraded:
            _log.warning("feedback_not_written", scopes=len(noted))

    async def observed(self) -> list[dict[str, Any]]:
        """Return the counts of the most recently active scopes.

        Raises:
            Degraded: Redis did not answer.
        """
        deadline = Deadline.after(self._settings.redis_timeout)
        asked = self._queues.client.zrevrange(keys.FEEDBACK_SCOPES, 0, _SCOPES_SHOWN - 1)
        scopes = [scope.decode() for scope in await self._queues.ask(asked, deadline)]
        pipe = self._queues.client.pipeline(transaction=False)
        for scope in scopes:
            pipe.hgetall(keys.feedback(keys.user_tag(scope)))
        found = await self._queues.ask(pipe.execute(), deadline) if scopes else []
        return [
            _observed(scope, pair.decode(), packed)
            for scope, pairs in zip(scopes, found, strict=True)
            for pair, packed in sorted(pairs.items())
        ]

    async def _write(
        self, scope: str, counted: Mapping[tuple[str, str, str], int], deadline: Deadline
    ) -> None:
        settings = self._settings
        pairs = dict.fromkeys((engine, tool) for engine, tool, _ in counted)
        amounts: list[str | int] = []
        for engine, tool in pairs:
            shortened = counted.get((engine, tool, "shortened"), 0)
            amounts += [engine, tool, shortened, counted.get((engine, tool, "back"), 0)]
        names = [
            keys.feedback(keys.user_tag(scope)),
            keys.FEEDBACK_PAUSES,
            keys.FEEDBACK_SCOPES,
        ]
        limits = [
            settings.feedback_rate,
            settings.feedback_sample,
            settings.feedback_pause_seconds,
            HALF_LIFE_SECONDS,
            _MOST_PAIRS,
            _MOST_PAUSES,
        ]
        asked = self._count(keys=names, args=[scope, *limits, *amounts])
        if paused := await self._queues.ask(asked, deadline):
            _log.warning("engines_paused", scope=scope, count=paused)

    async def _read(self, deadline: Deadline) -> None:
        pipe = self._queues.client.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(keys.FEEDBACK_PAUSES)
        time, found = await self._queues.ask(pipe.execute(), deadline)
        now = clock.seconds(time)
        pauses = [_pause(name.decode(), packed) for name, packed in sorted(found.items())]
        self.pauses = [pause for pause in pauses if pause.until > now]
        by_scope: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for pause in self.pauses:
            by_scope[pause.scope].append((pause.engine, pause.tool))
        self._pauses = {scope: tuple(sorted(pairs)) for scope, pairs in by_scope.items()}


def scope_of(user: str) -> str:
    """Return the scope of a user: the tenant in ``tenant/user``, or empty without a tenant."""
    return user.rpartition("\t")[2].partition("/")[0] if "/" in user else ""


def _plain(tool: str) -> str:
    return "".join(c if c.isprintable() else " " for c in tool)[:TOOL_CHARS]


def _pause(name: str, packed: bytes) -> Pause:
    scope, engine, tool = name.split(_SEPARATOR)
    until, since, shortened, back = _unpack(packed)
    return Pause(scope, engine, tool, since, until, round(shortened, 1), round(back, 1))


def _observed(scope: str, pair: str, packed: bytes) -> dict[str, Any]:
    engine, _, tool = pair.partition(_SEPARATOR)
    shortened, asked, _ = _unpack_counts(packed)
    back = min(shortened, asked)
    return {
        "scope": scope,
        "engine": engine,
        "tool": tool,
        "shortened": round(shortened, 1),
        "asked_back": round(back, 1),
        "rate": round(back / shortened, 4) if shortened else None,
    }
