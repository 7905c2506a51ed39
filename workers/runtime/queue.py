"""One pool's queue, as used by its workers: pop, begin, finish, reap.

Jobs and queues have RQ's layout. A popped job has a lease, which its worker renews while it works.
If the worker dies, the lease expires and :meth:`PoolQueue.reap` queues the job again, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec
import structlog
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from shared import keys
from shared.jobs import FUNCTION, Job, read_job
from shared.scripts import script
from shared.settings import Settings

_log = structlog.get_logger(__name__)
_MS_A_MEGABYTE = 1000
"""Milliseconds added to a job's lease per megabyte, because an engine may block the heartbeat
thread for that long."""
_REAPS_A_LEASE = 3
"""Checks for expired leases within the time of a lease, over all workers."""
JobOutcome = Literal["done", "gone", "refused", "expired", "dead"]
"""The outcome of a job, as counted in ``/metrics``."""


class Begun(NamedTuple):
    """A popped and leased job.

    ``job`` is an outcome if there is nothing to run. ``starts`` counts earlier starts, ``lease_ms``
    is its lease, ``waited`` the seconds it spent in the queue, ``size`` its bytes there.
    """

    id: str
    job: Job | JobOutcome
    starts: int
    lease_ms: int
    waited: float
    size: int


class PoolQueue:
    """The queue of ``pool``; methods may raise :data:`shared.redis_connection.BROKEN`."""

    def __init__(self, redis: Any, pool: str, settings: Settings) -> None:
        self.pool = pool
        self._redis = redis
        self._lease_ms = round(settings.lease_seconds * 1000)
        self._start = redis.register_script(script("start_job"))
        self._done = redis.register_script(script("finish_job"))
        self._renew = redis.register_script(script("renew_leases"))
        self._reap = redis.register_script(script("requeue_dead_jobs"))

    def pop(self, seconds: float) -> str | None:
        """Wait at most ``seconds`` for a job; return its id, or None."""
        popped: Any = self._redis.blmove(
            keys.queue(self.pool), keys.taken(self.pool), seconds, "LEFT", "RIGHT"
        )
        return popped.decode() if popped is not None else None

    def pop_more(self) -> str | None:
        """Return the id of a job that is already queued, or None."""
        popped: Any = self._redis.lmove(
            keys.queue(self.pool), keys.taken(self.pool), "LEFT", "RIGHT"
        )
        return popped.decode() if popped is not None else None

    def begin(self, job_id: str) -> Begun:
        """Lease a popped job and read it."""
        lease, data, waited_ms, starts = self._start(
            keys=[keys.job(job_id), keys.jobs(self.pool), keys.leases(self.pool)],
            args=[job_id, self._lease_ms, _MS_A_MEGABYTE, keys.JOB_TTL_SECONDS],
        )
        job = self._read(job_id, data)
        return Begun(job_id, job, starts, lease, waited_ms / 1000, len(data or b""))

    def renew(self, leases: Mapping[str, int]) -> None:
        """Renew the leases (milliseconds by job id) of jobs in progress."""
        if leases:
            pairs = [item for pair in leases.items() for item in pair]
            self._renew(keys=[keys.leases(self.pool)], args=pairs)

    def done(self, job_id: str, outcome: JobOutcome) -> None:
        """Remove a finished job and count its outcome."""
        self._done(keys=self._keys_of(job_id), args=[job_id, f"jobs:{outcome}"])

    def done_with(self, pipe: Pipeline, job_id: str) -> None:
        """Execute ``pipe``, and remove the job that it finishes in the same round trip."""
        names = self._keys_of(job_id)
        pipe.evalsha(self._done.sha, len(names), *names, job_id, "jobs:done")
        try:
            pipe.execute()
        except NoScriptError:  # only the script failed; the other commands were executed
            self.done(job_id, "done")

    def _keys_of(self, job_id: str) -> list[str]:
        return [
            keys.job(job_id),
            keys.taken(self.pool),
            keys.leases(self.pool),
            keys.load(self.pool),
            keys.jobs(self.pool),
            keys.metrics(self.pool),
        ]

    def mark(self, job_id: str, block_key: str) -> None:
        """Record which block of a job is in progress, in case it kills the worker."""
        self._redis.hset(keys.job(job_id), "current", block_key)

    def marked(self, job_id: str) -> str | None:
        """Return the block that :meth:`mark` recorded last."""
        found: Any = self._redis.hget(keys.job(job_id), "current")
        return found.decode() if found is not None else None

    def reap(self) -> list[str]:
        """Queue jobs whose lease expired again; return the ids of those that died twice.

        A call covers all workers. Only a few calls per lease do any work; others return at once.
        """
        dead: Any = self._reap(
            keys=[
                keys.taken(self.pool),
                keys.leases(self.pool),
                keys.queue(self.pool),
                keys.load(self.pool),
                keys.jobs(self.pool),
                keys.metrics(self.pool),
                keys.reaped(self.pool),
            ],
            args=[self._lease_ms, self._lease_ms // _REAPS_A_LEASE, keys.JOB_PREFIX],
        )
        return [job_id.decode() for job_id in dead]

    def _read(self, job_id: str, data: bytes | None) -> Job | JobOutcome:
        """Return the job; or its outcome, if it has expired or is not a job of this farm."""
        if data is None:
            return "gone"
        try:
            function, instance, args, kwargs = json.loads(data)
            if function != FUNCTION or instance is not None or kwargs:
                raise ValueError("not a job of this farm")
            return read_job(args[0])
        except (ValueError, TypeError, LookupError, msgspec.ValidationError) as error:
            _log.warning("job_refused", job=job_id, pool=self.pool, error=type(error).__name__)
            return "refused"
