"""Recovery of jobs whose worker died.

Such a job is started again once, by any worker, outside of batches and block by block. If that
worker dies too, the block in progress is quarantined: it stays verbatim for its user's session
and is not tried again. The job's other blocks stay verbatim in this answer.
"""

from __future__ import annotations

import structlog

from shared.jobs import Block, Form, Job

from ..batcher import BatchCount
from ..compress_block import Done
from .delivery import Delivery
from .queue import PoolQueue

_log = structlog.get_logger(__name__)
QUARANTINED = Form(None, outcome="quarantined")


class Quarantine:
    """Recovers the jobs of one pool; it runs in every worker of every pool."""

    def __init__(self, queue: PoolQueue, delivery: Delivery) -> None:
        self._queue = queue
        self._delivery = delivery

    def take_dead_jobs(self) -> None:
        """Queue the jobs of dead workers again; end those that died twice."""
        for job_id in self._queue.reap():
            self._bury(job_id)

    def _bury(self, job_id: str) -> None:
        job = self._queue.begin(job_id).job
        if not isinstance(job, Job):
            self._delivery.end(job_id, job)
            return
        culprit = self._queue.marked(job_id)
        known = self._delivery.known(job)
        for block in job.blocks:
            form = known.get(block.key) or self._verdict(block, culprit)
            self._delivery.deliver(job, Done(block, form, []), BatchCount())
        self._delivery.end(job_id, "dead")
        _log.error(
            "job_died_twice",
            pool=self._queue.pool,
            request_id=job.request_id,
            blocks=len(job.blocks),
            quarantined=culprit,
        )

    def _verdict(self, block: Block, culprit: str | None) -> Form:
        return QUARANTINED if block.key == culprit else Form(None, outcome="failed")
