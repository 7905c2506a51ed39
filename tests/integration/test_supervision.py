"""A failed background task is restarted, and a process that gives up is replaced."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from falcon import testing

import api
from api.app import create_app
from shared import keys
from shared.settings import Settings

from ..farm import Farm, Process, until, user
from ..texts import conversation, ran, rows

SOURCES = str(Path(api.__file__).parent)
DEAD_JOBS = ("workers.runtime.quarantine", "Quarantine", "take_dead_jobs")
PATCH = """\
import shared.supervision
shared.supervision.FIRST_PAUSE_SECONDS = 0.001
from {module} import {owner}
real, calls = {owner}.{name}, []
{prefix}def broken(self, *arguments):
    calls.append(1)
    if len(calls) <= {failures}:
        raise KeyError
    return {wait}real(self, *arguments)
{owner}.{name} = broken
"""


def broken(module: str, owner: str, name: str, failures: int, *, asynchronous: bool = True) -> str:
    """Return Python code that makes a method fail that many times, and then work."""
    prefix, wait = ("async ", "await ") if asynchronous else ("", "")
    return PATCH.format(
        module=module, owner=owner, name=name, failures=failures, prefix=prefix, wait=wait
    )


def failures(farm: Farm, task: str, pool: str = "") -> float:
    pattern = rf'headroom_task_failures_total{{pool="{pool}",task="{task}"}} (\S+)'
    found = re.search(pattern, farm.get("/metrics").body.decode())
    return float(found[1]) if found else 0.0


def test_every_task_of_a_front_end_is_supervised(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    farm.start_redis()
    settings: Any = {
        "redis_url": farm.redis_url,
        "data_dir": farm.directory / "own",
        "pricing_dsn": "host=127.0.0.1 port=9",
    }

    async def started() -> dict[str, str]:
        """Return the names and coroutines of the project's tasks, by name."""
        before = asyncio.all_tasks()
        async with testing.ASGIConductor(create_app(Settings(**settings))):
            found = [(task.get_name(), task.get_coro()) for task in asyncio.all_tasks() - before]
        code: Any = {name: coroutine.cr_code for name, coroutine in found}
        ours = {name: one for name, one in code.items() if SOURCES in one.co_filename}
        return {name: one.co_qualname for name, one in ours.items()}

    found = asyncio.run(started())
    assert {"replies", "ledger", "claims", "prices", "pools"} <= found.keys()
    # The second is the server's own, which brings the application up and down.
    assert set(found.values()) <= {"_run_on", "Application.__call__"}, found


def test_front_end_compresses_after_inbox_failed(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    farm.start_redis()
    for pool in ("cpu", "gpu"):
        farm.start_worker(pool)
    farm.start_api(broken("api.runtime.result_inbox", "ResultInbox", "_receive", 3))
    farm.until_ready()
    until("three failures are counted", lambda: failures(farm, "replies") == 3)
    assert farm.post(conversation(ran(rows("again"))), user()).json["degraded"] == []


def test_process_that_cannot_go_on_is_replaced(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(drain_seconds=3)
    farm.start_redis()
    first = broken("api.runtime.result_inbox", "ResultInbox", "_receive", 1_000_000)
    process = farm.start_api(first)
    before = set(process.children())

    def refuses_life() -> bool:
        answer = farm.answer("/livez")
        return answer is not None and answer.status == 503 and "replies" in answer.json["reason"]

    until("it reports that it gives up", refuses_life)
    until("another process in its place", lambda: set(process.children()) - before)
    assert process.alive


def test_worker_waits_for_redis_at_start(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    worker = farm.start_worker("cpu")
    until(
        "the worker has asked",
        lambda: worker.log.exists() and "redis_failed" in worker.log.read_text(),
    )
    farm.start_redis()
    until("the worker beats", lambda: farm.redis.zcard(keys.workers("cpu")))
    assert worker.alive


def test_worker_beats_after_its_heartbeat_failed(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    first = broken(
        "workers.runtime.quarantine", "Quarantine", "take_dead_jobs", 3, asynchronous=False
    )
    farm.start_redis()
    farm.start_worker("cpu", first)
    until("the worker beats", lambda: farm.redis.zcard(keys.workers("cpu")))
    counted = lambda: farm.redis.hget(keys.metrics("cpu"), "task_failures:heartbeat")  # noqa: E731
    until("three failures are counted", lambda: counted() == b"3")
    farm.start_api()
    assert failures(farm, "heartbeat", "cpu") == 3


def test_worker_ends_when_heartbeat_fails_for_good(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm()
    first = broken(
        "workers.runtime.quarantine", "Quarantine", "take_dead_jobs", 1_000_000, asynchronous=False
    )
    farm.start_redis()
    worker: Process = farm.start_worker("cpu", first)
    assert worker.wait() == 70
