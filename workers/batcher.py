"""Batching across jobs: waiting jobs are read, scored in one batch, and finished one by one.

Only an engine that can score many texts at once (:class:`Batching`) gets more than one job.
No job waits for a batch to fill: the first job is taken when it arrives, together with the jobs
already in the queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import structlog

from shared.jobs import Job

from .block_form import Engines, read_free_text
from .runtime.limits import Limit

_log = structlog.get_logger(__name__)
_CHARS_A_TOKEN = 3.0
"""Characters per token: a low estimate, so that a batch is rather below its budget than above."""
_CALLS_A_SCORING = 10
"""Scoring a batch may take this many engine timeouts; then the process is ended."""


@runtime_checkable
class Batching(Protocol):
    """A text engine that scores the rows of many texts in one batch."""

    @property
    def scoring_tokens(self) -> int:
        """How many tokens of text to score in one batch."""
        ...

    @property
    def broken(self) -> bool:
        """Whether the engine is unusable in this process from now on."""
        ...

    def collect(self) -> AbstractContextManager[None]:
        """Collect the rows of texts in this context without scoring them."""
        ...

    def score(self) -> list[int]:
        """Score the collected rows; return their lengths in tokens."""
        ...

    def forget(self) -> None:
        """Drop the batch's scores."""
        ...


@dataclass(slots=True)
class BatchCount:
    """Additive counters of a batch. Times are in milliseconds.

    ``tokens`` exclude padding; ``wait_ms`` is the total time that the jobs spent in the queue.
    """

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    wait_ms: float = 0.0
    inference_ms: float = 0.0

    def take(self) -> dict[str, int | float]:
        """Return the counters that are not zero, by name, and reset them."""
        moved = {name: value for name, value in asdict(self).items() if value}
        for name in moved:
            setattr(self, name, 0)
        return moved


def can_batch(engines: Engines) -> bool:
    """Return whether this pool's engine can process several jobs at a time."""
    return isinstance(engines.text_engine, Batching)


def scoring_tokens(engines: Engines) -> int:
    """Return how many tokens of jobs to process together; 0 means one job at a time."""
    engine = engines.text_engine
    return engine.scoring_tokens if isinstance(engine, Batching) else 0


def is_broken(engines: Engines) -> bool:
    """Return whether the engine is unusable in this process, so that a new one is needed."""
    engine = engines.text_engine
    return isinstance(engine, Batching) and engine.broken


def tokens_of(job: Job) -> int:
    """Return an estimate of a job's tokens."""
    return int(sum(len(block.text) for block in job.blocks) / _CHARS_A_TOKEN)


@contextmanager
def prepared(jobs: list[Job], engines: Engines, limit: Limit, count: BatchCount) -> Iterator[float]:
    """Score the texts of ``jobs`` for this context; yields the milliseconds spent per block.

    The batch is added to ``count``. If the engine does not batch, nothing is done.
    """
    engine = engines.text_engine
    if not isinstance(engine, Batching) or not jobs:
        yield 0.0
        return
    started = time.perf_counter()
    try:
        _read(jobs, engines, engine, limit)
        _log.debug("scoring", jobs=len(jobs))
        scoring = time.perf_counter()
        with limit.watched(_CALLS_A_SCORING):
            lengths = engine.score()
        now = time.perf_counter()
        _log.debug("scored", rows=len(lengths), ms=round((now - scoring) * 1000, 1))
        count.batches += 1
        count.rows += len(lengths)
        count.tokens += sum(lengths)
        count.inference_ms += (now - scoring) * 1000
        yield (now - started) * 1000 / max(1, sum(len(job.blocks) for job in jobs))
    finally:
        engine.forget()


def _read(jobs: list[Job], engines: Engines, engine: Batching, limit: Limit) -> None:
    with engine.collect():
        for job in jobs:
            for block in job.blocks:
                try:
                    limit(partial(read_free_text, job, block, engines))
                except Exception as error:  # it will fail again when its job is processed
                    _log.debug("unread", error=type(error).__name__, request_id=job.request_id)
