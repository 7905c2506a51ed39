"""Batching across jobs: what waits is read first, scored in one go, then finished job by job.

Only an engine that can score many texts at once (:class:`Batching`) gets more than one job.
Nothing ever waits for a batch to fill: the first job is taken when it comes, and with it
what already stands in the queue.
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

from .faithful import read_free_text
from .runtime.limits import Limit
from .tasks import Engines

_log = structlog.get_logger(__name__)
_CHARS_A_TOKEN = 3.0
"""A low guess, so that a batch ends up under its budget rather than over."""
_CALLS_A_SCORING = 10
"""How many engine timeouts the scoring of a batch may take before its process is ended."""


@runtime_checkable
class Batching(Protocol):
    """A text engine that scores the rows of many texts in one go."""

    @property
    def turn_tokens(self) -> int:
        """How many tokens of text to bring to one scoring."""
        ...

    @property
    def broken(self) -> bool:
        """Whether the engine will never work again in this process."""
        ...

    def collect(self) -> AbstractContextManager[None]:
        """Within it texts are only read."""
        ...

    def score(self) -> list[int]:
        """Score what was read; return the rows' lengths in tokens."""
        ...

    def forget(self) -> None:
        """Drop the batch's scores."""
        ...


@dataclass(slots=True)
class BatchCount:
    """What one turn of a worker was: counters that add up. Times are milliseconds.

    ``tokens`` are without padding; ``wait_ms`` is the jobs' time in the queue, together.
    """

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    wait_ms: float = 0.0
    inference_ms: float = 0.0

    def take(self) -> dict[str, int | float]:
        """Return the counters that moved, by name, and set all to zero."""
        moved = {name: value for name, value in asdict(self).items() if value}
        for name in moved:
            setattr(self, name, 0)
        return moved


def can_batch(engines: Engines) -> bool:
    """Say whether this pool's engine gains from more than one job at a time."""
    return isinstance(engines.text_engine, Batching)


def turn_tokens(engines: Engines) -> int:
    """Return how many tokens' worth of jobs to take at once; 0 where one job is taken."""
    engine = engines.text_engine
    return engine.turn_tokens if isinstance(engine, Batching) else 0


def is_broken(engines: Engines) -> bool:
    """Say whether this process's engine is beyond repair: a new process has to try again."""
    engine = engines.text_engine
    return isinstance(engine, Batching) and engine.broken


def tokens_of(job: Job) -> int:
    """Estimate how many tokens a job brings to the model."""
    return int(sum(len(block.text) for block in job.blocks) / _CHARS_A_TOKEN)


@contextmanager
def prepared(jobs: list[Job], engines: Engines, limit: Limit, count: BatchCount) -> Iterator[float]:
    """Within it the texts of ``jobs`` are scored; gives the milliseconds that cost a block.

    Adds the batch to ``count``.
    With an engine that does not batch it does nothing.
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
                except Exception as error:  # it fails again, alone, when its turn comes
                    _log.debug("unread", error=type(error).__name__, request_id=job.request_id)
