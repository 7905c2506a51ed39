"""A worker process: RQ's worker with the farm's own loop (for the reason see
:mod:`workers.runtime`)."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker
from rq.worker_registration import clean_worker_registry

from shared import keys
from shared.errors import ModelError
from shared.gc_freeze import keep_what_is_loaded
from shared.headroom import ENGINE_VERSION
from shared.jobs import EngineStatus, Form, Job
from shared.redis_connection import BROKEN, connect, connect_state, renew
from shared.settings import PoolName, Settings
from shared.tracing import tracer

from .batcher import BatchCount, can_batch, is_broken, prepared, scoring_tokens, tokens_of
from .block_form import Engines
from .compress_block import Done, compress_block, warm_up
from .runtime.delivery import Delivery
from .runtime.heartbeat import Heartbeat
from .runtime.limits import Limit
from .runtime.pool_pace import Pace
from .runtime.queue import Begun, PoolQueue
from .runtime.watchdog import Watchdog

_log = structlog.get_logger(__name__)
_WAIT_SECONDS = 1
_REGISTRY_SECONDS = 60
_PACE_KEEPS = 0.9


class FarmWorker(SimpleWorker):
    """Runs jobs of one pool in this process: one at a time, or waiting jobs as a batch.

    ``status`` is the text engine's status, published with each heartbeat.
    """

    def __init__(
        self, settings: Settings, engines: Engines, status: EngineStatus | None = None
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._pool: PoolName = engines.pool
        self._redis = connect(settings, blocking_seconds=_WAIT_SECONDS)
        self._queue = PoolQueue(self._redis, self._pool, settings)
        state = connect_state(settings) if settings.state_url else self._redis
        self._delivery = Delivery(state, self._redis, self._queue, settings)
        self._watchdog = Watchdog(settings.redis_timeout + settings.redis_connect_timeout)
        self._pace = Pace(_PACE_KEEPS)
        self._limit = Limit(settings.engine_timeout_seconds, self._watchdog)
        self._stopping = threading.Event()
        self._introduce()
        self._heartbeat = Heartbeat(
            settings,
            self._pool,
            self.name,
            status,
            self._watchdog,
            self._pace,
            self._register,
            (self.key, self.worker_ttl + _REGISTRY_SECONDS),
        )

    def _introduce(self) -> None:
        """Make RQ's worker, which asks Redis for its address; wait for Redis if it is away."""
        name = keys.worker_names(self._pool, socket.gethostname())
        while True:
            try:
                super().__init__(
                    [self._pool],
                    name=f"{name}{os.getpid()}-{secrets.token_hex(3)}",
                    connection=self._redis,
                    serializer=JSONSerializer,
                )
                return
            except BROKEN as error:
                _log.warning("redis_failed", pool=self._pool, error=type(error).__name__)
                renew(self._redis)
                time.sleep(self._settings.redis_retry_seconds)

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until SIGTERM or SIGINT; the current job is finished first.

        ``on_ready`` is called once, when the worker starts taking jobs.

        Raises:
            ModelError: The model broke while it ran; a new process may be able to run it.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        tracer.configure(self._settings, f"headroom-farm-worker-{self._pool}")
        self._pace.note(*warm_up(self._engines))
        keep_what_is_loaded()
        self._watchdog.beat()
        self._heartbeat.start()
        _log.info("worker_ready", pool=self._pool, worker=self.name, engines=ENGINE_VERSION)
        on_ready()
        while not (self._stopping.is_set() or is_broken(self._engines)):
            self._watchdog.beat(_WAIT_SECONDS)
            try:
                job_id = self._queue.pop(_WAIT_SECONDS)
                if job_id is not None:
                    self._take(job_id)
            except BROKEN as error:
                _log.warning("redis_failed", pool=self._pool, error=type(error).__name__)
                renew(self._redis)
                self._watchdog.beat(self._settings.redis_retry_seconds)
                self._stopping.wait(self._settings.redis_retry_seconds)
            finally:
                self._heartbeat.hold({})
        self._farewell()
        if is_broken(self._engines):
            raise ModelError("the model broke; this worker ends so that a new one tries again")

    # ── the jobs of one batch ───────────────────────────────────────────────────────

    def _take(self, job_id: str) -> None:
        """Process one job, together with waiting jobs if the engine batches."""
        started = time.perf_counter()
        count = BatchCount()
        begun = [self._begin(job_id, count)]
        self._begin_more(begun, count)
        self._heartbeat.hold({one.id: one.lease_ms for one in begun})
        jobs = [
            (one, one.job)
            for one in begun
            if isinstance(one.job, Job) and self._is_wanted(one, one.job, count)
        ]
        first = [(one, job) for one, job in jobs if not one.starts]
        with prepared([job for _, job in first], self._engines, self._limit, count) as share_ms:
            for one, job in first:
                self._do(one, job, count, share_ms)
        for one in begun:
            if not isinstance(one.job, Job):
                self._delivery.end(one.id, one.job)
        # A job that killed a worker may kill this one too: it runs last and alone.
        for one, job in jobs:
            if one.starts:
                self._do(one, job, count, 0.0)
        if jobs:
            self._pace.note(sum(one.size for one, _ in jobs), time.perf_counter() - started)

    def _begin(self, job_id: str, count: BatchCount) -> Begun:
        self._watchdog.beat()
        one = self._queue.begin(job_id)
        count.wait_ms += one.waited * 1000
        return one

    def _begin_more(self, begun: list[Begun], count: BatchCount) -> None:
        """Start more waiting jobs, as many as the engine can batch."""
        most = scoring_tokens(self._engines)
        tokens = sum(tokens_of(one.job) for one in begun if isinstance(one.job, Job))
        while tokens < most and len(begun) < self._settings.batch_max_jobs:
            job_id = self._queue.pop_more()
            if job_id is None:
                return
            one = self._begin(job_id, count)
            begun.append(one)
            tokens += tokens_of(one.job) if isinstance(one.job, Job) else 0

    def _is_wanted(self, one: Begun, job: Job, count: BatchCount) -> bool:
        """Return whether a job is still wanted; otherwise end it.

        Jobs whose caller has gone must not take up the model's time. Requests that joined such a
        claim later keep their original text, as after a failure.
        """
        self._watchdog.beat()
        if not can_batch(self._engines) or not 0 <= job.wait_ms < one.waited * 1000:
            return True
        for block in job.blocks:
            self._delivery.deliver(job, Done(block, Form(None, outcome="failed"), []), count)
        self._delivery.end(one.id, "expired")
        _log.info("job_expired", pool=self._pool, request_id=job.request_id)
        return False

    def _do(self, one: Begun, job: Job, count: BatchCount, share_ms: float) -> None:
        """Process a job's blocks; if it was started before, record which block is in progress."""
        self._watchdog.beat()
        known = self._delivery.known(job) if one.starts else {}
        with tracer.span("job", job.trace, pool=self._pool, blocks=len(job.blocks)):
            for place, block in enumerate(job.blocks, 1):
                if block.key in known:
                    done = Done(block, known[block.key], [])
                else:
                    if one.starts:
                        self._queue.mark(one.id, block.key)
                    done = compress_block(job, block, self._engines, self._limit, share_ms)
                ends = one.id if place == len(job.blocks) else None
                self._delivery.deliver(job, done, count, ends)
        if not job.blocks:
            self._delivery.end(one.id, "done")

    # ── registration and signals ────────────────────────────────────────────────────

    def _register(self) -> None:
        """Add this worker to RQ's registry, and remove workers that died without doing so."""
        self.register_birth()
        clean_worker_registry(self.queues[0])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()

    def _farewell(self) -> None:
        self._heartbeat.stop()
        try:
            self._redis.zrem(keys.workers(self._pool), self.name)
            self._redis.unlink(keys.engine(self._pool, self.name))
            self.register_death()
        except BROKEN:
            _log.warning("farewell_failed", pool=self._pool)
        _log.info("worker_stopped", pool=self._pool, worker=self.name)
