"""A Redis client with a circuit breaker; every command ends by its deadline.

In a Cluster each node has its own breaker, so that a lost node affects only its own users.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import structlog

from shared import keys
from shared.circuit_breaker import Breaker, Cause, Reading, cause_of
from shared.cluster import AsyncCluster
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.redis_connection import BROKEN, renew_async
from shared.settings import Settings

from .background_tasks import end, supervise

_log = structlog.get_logger(__name__)
_ONE = ""
"""Name of the only node of a single server."""


class RedisGuard:
    """This front end's connections to one Redis, ``name`` in logs, metrics and ``/readyz``."""

    def __init__(self, client: Any, settings: Settings, name: str = "redis") -> None:
        self.client = client
        self.name = name
        self._settings = settings
        self._breakers: dict[str, Breaker] = {_ONE: self._breaker()}
        self._gone: Counter[Cause] = Counter()
        self._tripped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Probe Redis once, then periodically."""
        await self.check()
        self._task = supervise(f"{self.name}-probe", self._watch, essential=True)

    async def stop(self) -> None:
        """Close the connections."""
        await end([self._task])
        await self.client.aclose()

    async def ask(self, command: Any, deadline: Deadline, user: str = "") -> Any:
        """Await one command within the deadline; a failure of Redis opens the breaker.

        ``user`` is the tag of the user whose keys the command uses, if any.

        Raises:
            Degraded: Redis did not answer in time.
        """
        breaker = self._of(user)
        if not breaker.admits:
            command.close()
            raise Degraded("redis")
        try:
            async with asyncio.timeout(min(deadline.remaining, self._settings.redis_timeout)):
                return await command
        except BROKEN as error:
            # A command that ran out of time does not mean that Redis failed.
            ours = isinstance(error, TimeoutError) and deadline.remaining <= 0
            cause = None if ours else cause_of(error)
            _log.warning("redis_failed", place=self.name, error=type(error).__name__, cause=cause)
            if cause is not None:
                await self._failed(breaker, cause)
            raise Degraded("redis") from None

    def can_read(self, user: str = "") -> bool:
        """Return whether read-only commands can be sent, according to the probes.

        ``user`` is the tag of the user whose keys are read, if any.
        """
        return self._of(user).admits_reading

    def by_node(self, users: Iterable[str]) -> list[list[str]]:
        """Return these users' tags, grouped by the node that has their keys."""
        groups: dict[int, list[str]] = {}
        for user in users:
            groups.setdefault(id(self._of(user)), []).append(user)
        return list(groups.values())

    # ── state ───────────────────────────────────────────────────────────────────────

    @property
    def readings(self) -> list[Reading]:
        """The state of each node's breaker."""
        return [
            Reading(self.name, node, breaker.state, breaker.cause)
            for node, breaker in self._breakers.items()
        ]

    @property
    def trips(self) -> Counter[Cause]:
        """How often breakers have opened since this process started, by cause."""
        return sum((b.trips for b in self._breakers.values()), self._gone.copy())

    @property
    def serves(self) -> bool:
        """Whether any user can be served: at least one node is available."""
        return any(breaker.admits for breaker in self._breakers.values())

    @property
    def condition(self) -> str:
        """``ok``, or the cause, and how many nodes of a Cluster are available."""
        causes = [b.cause for b in self._breakers.values() if b.cause is not None]
        if not causes:
            return "ok"
        if not isinstance(self.client, AsyncCluster) or not self.serves:
            return causes[0]
        there = len(self._breakers) - len(causes)
        return f"{there} of {len(self._breakers)} nodes, {causes[0]}"

    async def check(self) -> None:
        """Probe every node that may be probed now."""
        nodes = self._nodes()
        for node in [name for name in self._breakers if name not in nodes]:
            self._gone += self._breakers.pop(node).trips
        for node in nodes:
            self._breakers.setdefault(node, self._breaker())
        await asyncio.gather(*[self._probe(node, key) for node, key in nodes.items()])

    async def _watch(self) -> None:
        pause = min(self._settings.worker_heartbeat_seconds, self._settings.redis_retry_seconds)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._tripped.wait()
            self._tripped.clear()
            await self.check()

    async def _probe(self, node: str, key: str) -> None:
        """Probe this node by writing a key; a successful read would not be enough."""
        breaker = self._breakers[node]
        if not breaker.probe():
            return
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                await self.client.set(key, b"", ex=keys.PING_TTL_SECONDS)
        except BROKEN as error:
            cause = cause_of(error)
            if breaker.admits:
                name = type(error).__name__
                _log.warning("redis_probe_failed", place=self.name, error=name, cause=cause)
                if cause is None:  # only this one was refused: commands say whether Redis serves
                    return
            await self._failed(breaker, cause or breaker.cause or "unreachable")
        except BaseException:  # whatever ended this probe: half open, no other would be sent
            if not breaker.admits:
                breaker.failed(breaker.cause or "unreachable")
            raise
        else:
            if not breaker.admits:
                _log.info("redis_back", place=self.name, node=node)
            breaker.answered()

    async def _failed(self, breaker: Breaker, cause: Cause) -> None:
        if breaker.failed(cause):
            self._tripped.set()
        if cause == "read_only":  # the address may now lead to another server
            await renew_async(self.client)

    # ── nodes ───────────────────────────────────────────────────────────────────────

    def _breaker(self) -> Breaker:
        return Breaker(self._settings.redis_retry_seconds)

    def _of(self, user: str) -> Breaker:
        """Return the breaker of the node that has this user's keys."""
        if not isinstance(self.client, AsyncCluster):
            return self._breakers[_ONE]
        node = self.client.node_of(keys.cache(user)) or _ONE
        return self._breakers.setdefault(node, self._breaker())

    def _nodes(self) -> dict[str, str]:
        """Return a key on every node, by node; before the Cluster's map is known, only one key."""
        if not isinstance(self.client, AsyncCluster):
            return {_ONE: keys.ping(0)}
        return self.client.key_on_each(keys.ping) or {_ONE: keys.ping(0)}
