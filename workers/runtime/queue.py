"""One pool's queue, as its workers use it: take, begin, finish, reap.

Jobs and queues are RQ's. A job that was popped has a lease, which its worker renews while it
works; where a worker dies the lease lapses and :meth:`PoolQueue.reap` puts the job back, once.
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
"""What a job's size adds to its lease: an engine may keep the heartbeat's thread waiting."""
_REAPS_A_LEASE = 3
JobOutcome = Literal["done", "gone", "refused", "expired", "dead"]
"""What became of a job, as ``/metrics`` counts it."""


class Begun(NamedTuple):
    """A job that was popped and leased.

    ``job`` is an outcome where there is nothing to run. ``starts`` counts earlier starts,
    ``lease_ms`` is its lease, ``waited`` the seconds it stood in the queue, ``size`` its bytes
    there.
    """

    id: str
    job: Job | JobOutcome
    starts: int
    lease_ms: int
    waited: float
    size: int


class PoolQueue:
    """The queue of ``pool``. Every method may raise what :data:`shared.connection.BROKEN` holds."""

    def __init__(self, redis: Any, pool: str, settings: Settings) -> None:
        self.pool = pool
        self._redis = redis
        self._lease_ms = round(settings.lease_seconds * 1000)
        self._start = redis.register_script(script("start"))
        self._done = redis.register_script(script("done"))
        self._renew = redis.register_script(script("renew"))
        self._reap = redis.register_script(script("reap"))

    def pop(self, seconds: float) -> str | None:
        """Wait for a job at most so long; return its id."""
        popped: Any = self._redis.blmove(
            keys.queue(self.pool), keys.taken(self.pool), seconds, "LEFT", "RIGHT"
        )
        return popped.decode() if popped is not None else None

    def pop_more(self) -> str | None:
        """Return the id of a job that waits already, or None."""
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
        """Prolong the leases (milliseconds by job id) of jobs in work."""
        if leases:
            pairs = [item for pair in leases.items() for item in pair]
            self._renew(keys=[keys.leases(self.pool)], args=pairs)

    def done(self, job_id: str, outcome: JobOutcome) -> None:
        """Take a job that is through away and count its outcome."""
        self._done(keys=self._keys_of(job_id), args=[job_id, f"jobs:{outcome}"])

    def done_with(self, pipe: Pipeline, job_id: str) -> None:
        """Send ``pipe``, and in the same round trip take a job away that is done with it."""
        names = self._keys_of(job_id)
        pipe.evalsha(self._done.sha, len(names), *names, job_id, "jobs:done")
        try:
            pipe.execute()
        except NoScriptError:  # this Redis does not know the script yet; all else was done
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
        """Note which block of a job is worked on: should the worker die, this one was it."""
        self._redis.hset(keys.job(job_id), "current", block_key)

    def marked(self, job_id: str) -> str | None:
        """Return the block that :meth:`mark` noted last."""
        found: Any = self._redis.hget(keys.job(job_id), "current")
        return found.decode() if found is not None else None

    def reap(self) -> list[str]:
        """Put jobs back whose lease lapsed; return the ids of those that died twice.

        Whoever calls looks for everybody; more calls than a few a lease find nothing to do.
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
        """Return the job, or why there is none: it is gone, or foreign and not for us to run."""
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
