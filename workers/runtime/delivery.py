"""Delivery of finished blocks: stored for their user, and sent to the waiting front ends."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import structlog
from redis.client import Pipeline

from shared import keys
from shared.claim_protocol import Claiming, tell
from shared.clock import RedisClock
from shared.histogram_buckets import ENGINE, bucket_of
from shared.jobs import Form, Job, pack_form, unpack_form
from shared.originals_in_redis import keep
from shared.redis_connection import BROKEN
from shared.settings import Settings

from ..batcher import BatchCount
from ..compress_block import Done
from .queue import JobOutcome, PoolQueue

_log = structlog.get_logger(__name__)
_NOT_KEPT = ("failed", "refused")


class Delivery:
    """Delivers one pool's blocks and ends its jobs.

    ``state`` is the Redis with users' caches and originals, ``redis`` the one with the queues.
    """

    def __init__(self, state: Any, redis: Any, queue: PoolQueue, settings: Settings) -> None:
        self._state = state
        self._redis = redis
        self._queue = queue
        self._settings = settings
        self._claiming = Claiming(state)
        self._clock = RedisClock()

    def known(self, job: Job) -> dict[str, Form]:
        """Return the forms of the job's blocks that are in the session cache already."""
        names = [block.key for block in job.blocks]
        try:
            found: Any = self._state.hmget(keys.cache(job.user), names) if names else []
        except BROKEN:
            if self._state is self._redis:
                raise
            return {}
        forms: dict[str, Form] = {}
        for key, packed in zip(names, found, strict=True):
            if packed:
                with contextlib.suppress(msgspec.DecodeError, ValueError):  # other version
                    forms[key] = unpack_form(packed)
        return forms

    def deliver(self, job: Job, done: Done, count: BatchCount, ends: str | None = None) -> None:
        """Store originals and form, end the claim, and send the form to all waiting front ends.

        ``count`` is added to the pool's counters and reset to zero. ``ends`` is the id of the job
        if this is its last block.
        """
        form = done.form
        waiters = {job.reply.encode()}
        try:
            waiters.update(self._store(job.user, done))
        except BROKEN as error:
            if self._state is self._redis:
                raise
            # The queues may still be available: one failed state node must not stop the pool.
            _log.warning("state_failed", error=type(error).__name__)
            form = Form(None, outcome="unstored")
        pipe = self._redis.pipeline(transaction=False)
        tell(pipe, waiters, job.user, done.block.key, form)
        self._count(pipe, form, count)
        if ends is None:
            pipe.execute()
        else:
            self._queue.done_with(pipe, ends)

    def end(self, job_id: str, outcome: JobOutcome) -> None:
        """End a job without processing its blocks."""
        self._queue.done(job_id, outcome)

    def _store(self, user: str, done: Done) -> list[bytes]:
        """Store the block in its user's state; return the reply lists that wait for it."""
        settings = self._settings
        if done.originals:
            pipe = self._state.pipeline(transaction=False)
            now = self._clock.fresh or self._clock.note(self._redis.time())
            keep(pipe, user, done.originals, (), settings.original_ttl, now)
            pipe.execute()
        # Not in the pipeline, where redis-py would first ask whether Redis has the script.
        waiters: list[bytes] = self._claiming.finish(
            user,
            done.block.key,
            b"" if done.form.outcome in _NOT_KEPT else pack_form(done.form),
            settings.session_ttl,
            settings.max_cache_entries,
        )
        return waiters

    def _count(self, pipe: Pipeline, form: Form, count: BatchCount) -> None:
        """Count a finished block, for ``/metrics``."""
        counters = keys.metrics(self._queue.pool)
        pipe.hincrby(counters, f"blocks:{form.outcome}", 1)
        pipe.hincrby(counters, f"engine:{bucket_of(form.engine_ms / 1000, ENGINE)}", 1)
        if form.unfaithful:
            engine, reason, _ = form.unfaithful.split(": ", 2)
            pipe.hincrby(counters, f"unfaithful:{engine}:{reason}", 1)
        pipe.hincrby(counters, "engine_us", round(form.engine_ms * 1000))
        for name, value in count.take().items():
            pipe.hincrbyfloat(counters, name, value)
