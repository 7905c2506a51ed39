"""A worker process: RQ's worker with a loop that costs three round trips a job.

Stock RQ spends 60-odd commands and a fork, or 2-5 ms in-process, on a job; blocks here
take a few milliseconds, so the loop is this module's own: ``BLMOVE`` an id to RQ's
intermediate queue, read the job, and finish each block in one pipeline. Jobs, queues and
worker registration stay RQ's, and ``rq info`` shows them.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

import msgspec
import structlog
from redis.client import Pipeline
from rq.serializers import JSONSerializer
from rq.timeouts import UnixSignalDeathPenalty
from rq.worker import SimpleWorker

from shared import keys
from shared.buckets import ENGINE, bucket_of
from shared.connection import BROKEN, connect
from shared.jobs import (
    FUNCTION,
    EngineStatus,
    Form,
    Job,
    Reply,
    age_of,
    pack_form,
    pack_reply,
    pack_status,
    read_job,
)
from shared.originals import keep
from shared.scripts import script
from shared.settings import PoolName, Settings
from shared.tracing import tracer
from shared.upstream import ENGINE_VERSION, Engined

from .batcher import BatchCount, can_batch, prepared, tokens_of
from .tasks import Done, Engines, compress_blocks

_log = structlog.get_logger(__name__)
_WAIT_SECONDS = 1
Outcome = Literal["done", "gone", "refused", "expired"]
"""What became of a job, as ``/metrics`` counts it."""


class FarmWorker(SimpleWorker):
    """Takes jobs of one pool in this process: one at a time, or what waits where that is faster.

    ``status`` is what the heartbeat says of the pool's text engine.
    """

    def __init__(
        self, settings: Settings, engines: Engines, status: EngineStatus | None = None
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._status = status
        self._pool: PoolName = engines.pool
        self._redis = connect(settings, blocking_seconds=_WAIT_SECONDS)
        self._finish = self._redis.register_script(script("finish"))
        self._stopping = threading.Event()
        self._alive: threading.Thread | None = None
        super().__init__(
            [self._pool],
            name=f"{self._pool}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            connection=self._redis,
            serializer=JSONSerializer,
        )

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until SIGTERM or SIGINT; the current job is finished first.

        ``on_ready`` is called once, when it begins to take jobs.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        tracer.configure(self._settings, f"headroom-farm-worker-{self._pool}")
        self._engines.warm_up()
        self._alive = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._alive.start()
        _log.info("worker_ready", pool=self._pool, worker=self.name, engines=ENGINE_VERSION)
        on_ready()
        while not self._stopping.is_set():
            try:
                job_id: Any = self._redis.blmove(
                    keys.queue(self._pool), keys.taken(self._pool), _WAIT_SECONDS, "LEFT", "RIGHT"
                )
                if job_id is not None:
                    self._take(job_id.decode())
            except BROKEN as error:
                _log.warning("redis_failed", pool=self._pool, error=type(error).__name__)
                self._stopping.wait(self._settings.redis_retry_seconds)
        self._farewell()

    # ── the jobs of one turn ────────────────────────────────────────────────────────

    def _take(self, job_id: str) -> None:
        """Do one job, and what else waits for an engine that batches."""
        count = BatchCount()
        jobs: dict[str, Job | Outcome] = {job_id: self._fetch(job_id, count)}
        if can_batch(self._engines):
            self._take_more(jobs, count)
            self._drop_expired(jobs, count)
        wanted = {j: job for j, job in jobs.items() if isinstance(job, Job)}
        with prepared(list(wanted.values()), self._engines, self._limit, count) as share_ms:
            for one, job in wanted.items():
                with tracer.span("job", job.trace, pool=self._pool, blocks=len(job.blocks)):
                    for done in compress_blocks(job, self._engines, self._limit, share_ms):
                        self._deliver(job, done, count)
                self._finished(one, "done")
        for one, outcome in jobs.items():
            if not isinstance(outcome, Job):
                self._finished(one, outcome)

    def _drop_expired(self, jobs: dict[str, Job | Outcome], count: BatchCount) -> None:
        """Answer for jobs whose caller has gone: the model's time is for those who wait.

        Whoever joined such a flight later gets his original, as after a failure.
        """
        now = time.time()
        for job_id, job in jobs.items():
            if isinstance(job, Job) and job.expires < now:
                jobs[job_id] = "expired"
                count.expired += 1
                for block in job.blocks:
                    self._deliver(job, Done(block, Form(None, outcome="failed"), []), count)
                _log.info("job_expired", pool=self._pool, request_id=job.request_id)

    def _take_more(self, jobs: dict[str, Job | Outcome], count: BatchCount) -> None:
        """Add waiting jobs up to the token budget; none waiting costs one round trip."""
        settings = self._settings
        tokens = sum(tokens_of(job) for job in jobs.values() if isinstance(job, Job))
        while tokens < settings.batch_tokens and len(jobs) < settings.batch_max_jobs:
            popped: Any = self._redis.lmove(
                keys.queue(self._pool), keys.taken(self._pool), "LEFT", "RIGHT"
            )
            if popped is None:
                return
            job = jobs[popped.decode()] = self._fetch(popped.decode(), count)
            tokens += tokens_of(job) if isinstance(job, Job) else 0

    def _fetch(self, job_id: str, count: BatchCount) -> Job | Outcome:
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(keys.job(job_id), "data", "enqueued_at")
        pipe.hset(keys.job(job_id), "status", "started")
        pipe.expire(keys.job(job_id), keys.JOB_TTL_SECONDS)
        (data, enqueued), *_ = pipe.execute()
        if enqueued is not None:
            count.wait_ms += age_of(enqueued) * 1000
        return self._read(job_id, data)

    def _finished(self, job_id: str, outcome: Outcome) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.unlink(keys.job(job_id))
        pipe.lrem(keys.taken(self._pool), 1, job_id)
        pipe.hincrby(keys.metrics(self._pool), f"jobs:{outcome}", 1)
        pipe.execute()

    def _read(self, job_id: str, data: bytes | None) -> Job | Outcome:
        """Return the job, or why there is none: it is gone, or foreign and not for us to run."""
        if data is None:
            return "gone"
        try:
            function, instance, args, kwargs = json.loads(data)
            if function != FUNCTION or instance is not None or kwargs:
                raise ValueError("not a job of this farm")
            return read_job(args[0])
        except (ValueError, TypeError, LookupError, msgspec.ValidationError) as error:
            _log.warning("job_refused", job=job_id, pool=self._pool, error=type(error).__name__)
            return "refused"

    def _limit(self, call: Any) -> Engined:
        with UnixSignalDeathPenalty(self._settings.engine_timeout_seconds, _EngineTimeout):
            result: Engined = call()
        return result

    def _deliver(self, job: Job, done: Done, count: BatchCount) -> None:
        """Store originals and form, end the flight, and answer everybody who waits.

        ``count`` goes with it into the pool's counters, and starts again at zero.
        """
        settings = self._settings
        user, key = job.user, done.block.key
        packed = pack_form(done.form)
        reply = pack_reply(Reply(user, key, packed))
        pipe = self._redis.pipeline(transaction=False)
        if done.originals:
            keep(pipe, user, done.originals, (), settings.original_ttl)
        finish = len(pipe)
        self._finish(
            keys=[keys.cache(user), keys.ages(user), keys.flights(user)],
            args=[
                int(time.time() * 1000),
                settings.session_ttl,
                settings.max_cache_entries,
                key,
                b"" if done.form.outcome == "failed" else packed,
            ],
            client=pipe,
        )
        pipe.rpush(job.reply, reply)
        pipe.expire(job.reply, keys.REPLY_TTL_SECONDS)
        self._count(pipe, done.form)
        for name, value in count.take().items():
            pipe.hincrbyfloat(keys.metrics(self._pool), name, value)
        waiters = pipe.execute()[finish]
        others = {w for w in waiters if w.decode() != job.reply}
        if others:
            pipe = self._redis.pipeline(transaction=False)
            for waiter in others:
                pipe.rpush(waiter, reply)
                pipe.expire(waiter, keys.REPLY_TTL_SECONDS)
            pipe.execute()

    def _count(self, pipe: Pipeline, form: Form) -> None:
        """Count a finished block, for ``/metrics``."""
        counters = keys.metrics(self._pool)
        pipe.hincrby(counters, f"blocks:{form.outcome}", 1)
        pipe.hincrby(counters, f"engine:{bucket_of(form.engine_ms / 1000, ENGINE)}", 1)
        pipe.hincrby(counters, "engine_us", round(form.engine_ms * 1000))

    # ── being alive ─────────────────────────────────────────────────────────────────

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()

    def _beat(self) -> None:
        """Say every heartbeat that this worker lives, to the farm and in RQ's registry."""
        client = connect(self._settings)
        registered = False
        while not self._stopping.is_set():
            try:
                if not registered:
                    self.register_birth()
                    registered = True
                now = time.time()
                pipe = client.pipeline(transaction=False)
                pipe.zadd(keys.workers(self._pool), {self.name: now})
                pipe.zremrangebyscore(
                    keys.workers(self._pool), "-inf", now - 10 * keys.WORKER_TTL_SECONDS
                )
                pipe.expire(self.key, self.worker_ttl + 60)
                if self._status is not None:
                    pipe.set(
                        keys.engine(self._pool, self.name),
                        pack_status(self._status),
                        ex=keys.WORKER_TTL_SECONDS,
                    )
                pipe.sadd("rq:queues", keys.queue(self._pool))
                pipe.execute()
            except BROKEN as error:
                _log.warning("heartbeat_failed", pool=self._pool, error=type(error).__name__)
            self._stopping.wait(self._settings.worker_heartbeat_seconds)

    def _farewell(self) -> None:
        if self._alive is not None:
            self._alive.join(2.0)
        try:
            self._redis.zrem(keys.workers(self._pool), self.name)
            self._redis.unlink(keys.engine(self._pool, self.name))
            self.register_death()
        except BROKEN:
            _log.warning("farewell_failed", pool=self._pool)
        _log.info("worker_stopped", pool=self._pool, worker=self.name)


class _EngineTimeout(TimeoutError):
    """An engine took longer than its timeout."""
