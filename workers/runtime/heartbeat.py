"""A worker's heartbeat thread: reports the worker as alive, renews leases, and reaps dead jobs.

It depends on the worker's loop: while the loop hangs, no heartbeats are sent, and the worker
counts as dead. If the loop keeps hanging, the process exits, so that its supervisor starts a new
one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

import structlog

from shared import clock, keys
from shared.jobs import EngineStatus, pack_status
from shared.redis_connection import BROKEN, connect, connect_state, renew
from shared.settings import POOLS, PoolName, Settings
from shared.supervision import Restarts, place_of

from .delivery import Delivery
from .pool_pace import Pace
from .quarantine import Quarantine
from .queue import PoolQueue
from .watchdog import Watchdog

_log = structlog.get_logger(__name__)
_BEATS_A_LEASE = 3
"""Minimum number of heartbeats in a lease, so that two may fail."""
_BEATS_TO_HANG = 20
"""Missed heartbeats in a row after which a hung process exits. They are counted rather than
timed, because a process that was suspended for a while has not hung."""
_HUNG = 70
"""The exit status of a worker whose loop hung or whose heartbeat failed (``EX_SOFTWARE``)."""


class Heartbeat:
    """Sends heartbeats, and renews leases, until it is stopped after the last job.

    ``register`` adds the worker to RQ's registry; ``prolong`` is RQ's key of the worker and its
    TTL in seconds. ``pace`` measures the bytes of jobs that the worker does per second of work.
    """

    def __init__(
        self,
        settings: Settings,
        pool: PoolName,
        name: str,
        status: EngineStatus | None,
        watchdog: Watchdog,
        pace: Pace,
        register: Callable[[], None],
        prolong: tuple[str, int],
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._name = name
        self._status = status
        self._watchdog = watchdog
        self._pace = pace
        self._register = register
        self._prolong = prolong
        self._redis = connect(settings)
        state = connect_state(settings) if settings.state_url else self._redis
        self._queues = {each: PoolQueue(self._redis, each, settings) for each in POOLS}
        self._quarantines = [
            Quarantine(queue, Delivery(state, self._redis, queue, settings))
            for queue in self._queues.values()
        ]
        self._held: Mapping[str, int] = {}
        self._stopped = threading.Event()
        self._registered = False
        self._hung = 0
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def hold(self, leases: Mapping[str, int]) -> None:
        """Renew these leases (milliseconds by job id) from now on, and no others."""
        self._held = dict(leases)

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        settings = self._settings
        pause = min(settings.worker_heartbeat_seconds, settings.lease_seconds / _BEATS_A_LEASE)
        restarts = Restarts()
        while not self._stopped.is_set():
            restarts.started()
            try:
                self._beat(pause)
            except Exception as error:
                self._failed(error, restarts)

    def _beat(self, pause: float) -> None:
        """Send heartbeats until the thread is stopped."""
        while not self._stopped.is_set():
            if self._loop_is_alive():
                try:
                    self._queues[self._pool].renew(self._held)
                    self._report()
                    for quarantine in self._quarantines:
                        quarantine.take_dead_jobs()
                except BROKEN as error:
                    _log.warning("heartbeat_failed", pool=self._pool, error=type(error).__name__)
                    renew(self._redis)
            self._stopped.wait(pause)

    def _failed(self, error: Exception, restarts: Restarts) -> None:
        """Wait before the next attempt; end the process if another is unlikely to help."""
        seconds = restarts.failed()
        self._failures += 1
        _log.error(
            "task_failed",
            task="heartbeat",
            pool=self._pool,
            error=type(error).__name__,
            at=place_of(error),
            in_a_row=restarts.in_a_row,
            again_in=seconds,
        )
        if restarts.exhausted:
            _log.critical("process_gives_up", task="heartbeat", pool=self._pool)
            os._exit(_HUNG)
        self._stopped.wait(seconds)

    def _loop_is_alive(self) -> bool:
        if not self._watchdog.stopped:
            self._hung = 0
            return True
        self._hung += 1
        if self._hung == 1:
            _log.error("loop_hangs", pool=self._pool, worker=self._name)
        elif self._hung > _BEATS_TO_HANG:
            _log.error("worker_given_up", pool=self._pool, worker=self._name)
            os._exit(_HUNG)
        return False

    def _report(self) -> None:
        if not self._registered:
            self._register()
            self._registered = True
        now = clock.seconds(self._redis.time())
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(keys.workers(self._pool), {self._name: now})
        pipe.zremrangebyscore(keys.workers(self._pool), "-inf", now - 10 * keys.WORKER_TTL_SECONDS)
        pipe.expire(*self._prolong)
        if self._status is not None:
            pipe.set(
                keys.engine(self._pool, self._name),
                pack_status(self._status),
                ex=keys.WORKER_TTL_SECONDS,
            )
        if self._pace.a_second is not None:
            pipe.set(
                keys.pace(self._pool, self._name),
                round(self._pace.a_second),
                ex=keys.WORKER_TTL_SECONDS,
            )
        pipe.sadd(keys.QUEUES, keys.queue(self._pool))
        failures = self._failures
        if failures:
            pipe.hincrby(keys.metrics(self._pool), "task_failures:heartbeat", failures)
        pipe.execute()
        self._failures -= failures
