"""A batch consists of jobs already queued, within limits; no job waits for it to fill."""

from __future__ import annotations

import time

import pytest

from shared.jobs import Block, Job, Options
from shared.settings import Settings
from workers.batcher import BatchCount
from workers.block_form import Engines
from workers.runtime.queue import Begun
from workers.runtime.watchdog import Watchdog
from workers.worker import FarmWorker


class Standing:
    """A queue with these jobs; waiting for more fails."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.asked = 0

    def pop_more(self) -> str | None:
        self.asked += 1
        return "id" if self.jobs else None

    def begin(self, job_id: str) -> Begun:
        return Begun(job_id, self.jobs.pop(0), 0, 1500, 0.01, 10)


def job(chars: int) -> Job:
    block = Block("k", "x" * chars, "tool_result", "user")
    return Job("tag", "reply", Options(), "", "r", [block])


class Scoring:
    """A batching engine reduced to its number of tokens per batch."""

    name = "kompress"
    broken = False

    def __init__(self, scoring_tokens: int) -> None:
        self.scoring_tokens = scoring_tokens

    def compress(self, *_: object) -> str:
        raise AssertionError

    collect = score = forget = compress


def taken(queue: Standing, first: Job, scoring_tokens: int = 16_384, **settings: int) -> int:
    """Return how many jobs a worker that has only a queue takes together with ``first``."""
    worker = FarmWorker.__new__(FarmWorker)
    worker._engines = Engines("gpu", Scoring(scoring_tokens))  # type: ignore[arg-type]
    worker._queue = queue  # type: ignore[assignment]
    worker._settings = Settings(**settings)  # type: ignore[arg-type]
    worker._watchdog = Watchdog(1.0)
    begun = [Begun("first", first, 0, 1500, 0.0, 10)]
    worker._begin_more(begun, BatchCount())
    return len(begun) - 1


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(f"it waited for {seconds} s")

    monkeypatch.setattr(time, "sleep", sleep)


def test_single_job_starts_after_one_queue_check() -> None:
    queue = Standing([])
    assert taken(queue, job(300)) == 0
    assert queue.asked == 1


def test_batch_includes_all_queued_jobs() -> None:
    queue = Standing([job(300) for _ in range(5)])
    assert taken(queue, job(300)) == 5
    assert queue.asked == 6


def test_unbatched_engine_takes_one_job() -> None:
    queue = Standing([job(10)])
    assert taken(queue, job(300), scoring_tokens=0) == 0
    assert queue.asked == 0


def test_batch_stays_within_token_budget() -> None:
    queue = Standing([job(3000) for _ in range(50)])
    assert taken(queue, job(3000), scoring_tokens=5000) == 4
    assert len(queue.jobs) == 46


def test_oversized_job_runs_alone() -> None:
    queue = Standing([job(10)])
    assert taken(queue, job(60_000), scoring_tokens=5000) == 0
    assert queue.asked == 0


def test_batch_stays_within_job_limit() -> None:
    queue = Standing([job(10) for _ in range(50)])
    assert taken(queue, job(10), batch_max_jobs=8) == 7
