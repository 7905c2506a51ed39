"""The text pool with a model, as real processes: batches, crashes, deadlines, status."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from loadtest.graphs import POISON, build_model, foreign_model
from shared import clock, keys
from shared.jobs import Block, Job, Options, job_data

from ..farm import Farm, Process, request, until, user
from ..texts import conversation, manual, plain_prose


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


def _asked(text: str) -> dict[str, Any]:
    """Return a request for a third of ``text``; the engine's default share may save too little."""
    return {**conversation(manual(text)), "target_ratio": 0.3}


def _worker(farm: Farm) -> Process:
    return next(p for p in farm.parts if "worker-gpu" in p.log.name)


def _counted(farm: Farm) -> dict[str, float]:
    found: Any = farm.redis.hgetall(keys.metrics("gpu"))
    return {name.decode(): float(value) for name, value in found.items()}


def _engines(farm: Farm) -> Any:
    found: list[Any] = request(farm.url, "GET", "/readyz").json["text_engines"]
    return found


def _enqueue(farm: Farm, texts: list[str], *, late_ms: int = 0) -> list[str]:
    """Enqueue one job per text, as a front end would; return their ids."""
    ids = []
    for n, text in enumerate(texts):
        block = Block(f"k{n}", text, "tool_result", "user")
        job = Job("tag", "farm:replies:test", Options(), "", f"r{n}", [block], wait_ms=60_000)
        ids.append(f"job-{n}")
        since = clock.seconds(farm.redis.time()) * 1000 - late_ms
        farm.redis.hset(keys.job(ids[-1]), mapping={"data": job_data(job), "since": since})
        farm.redis.rpush(keys.queue("gpu"), ids[-1])
    return ids


def test_queued_texts_are_one_batch(own_farm: Callable[..., Farm], model: Path) -> None:
    farm = own_farm(model_dir=model, deadline_ms=30_000).start(cpu=0)
    until("the engine is known", lambda: _engines(farm))
    assert [(e["engine"], e["provider"], e["workers"]) for e in _engines(farm)] == [
        ("kompress", "cpu", 1)
    ]
    assert "no CUDA" in _engines(farm)[0]["reason"]
    _worker(farm).signal(signal.SIGSTOP)
    texts = [plain_prose(f"text {n}") for n in range(6)] + [plain_prose(POISON)]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = [pool.submit(farm.post, _asked(t), user()) for t in texts]
        # A stopped worker's blocking pop may still take the first.
        until("they wait", lambda: farm.redis.llen(keys.queue("gpu")) >= len(texts) - 1)
        _worker(farm).signal(signal.SIGCONT)
        found = [a.result().json for a in answers]
    for answer in found[:-1]:
        assert answer["degraded"] == []
        assert answer["tokens_saved"] > 0
        assert "farm:text:kompress" in answer["transforms_applied"]
        assert len(answer["ccr_hashes"]) == 1
    assert found[-1]["degraded"] == ["engine"]
    assert found[-1]["tokens_saved"] == 0
    until("all are counted", lambda: _counted(farm).get("jobs:done") == len(texts))
    counted = _counted(farm)
    assert counted["batches"] < len(texts)
    assert counted["rows"] >= len(texts)
    assert {"tokens", "wait_ms", "inference_ms"} <= counted.keys()
    until("nothing is left", lambda: farm.redis.llen(keys.taken("gpu")) == 0)


def test_compressed_text_is_retrievable(own_farm: Callable[..., Farm], model: Path) -> None:
    farm = own_farm(model_dir=model).start(cpu=0)
    name, text = user(), plain_prose("back")
    (digest,) = farm.post(_asked(text), name).json["ccr_hashes"]
    found = request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": name})
    assert found.json["original_content"] == text


def test_drops_and_counts_expired_job(own_farm: Callable[..., Farm], model: Path) -> None:
    farm = own_farm(model_dir=model)
    farm.start_redis()
    _enqueue(farm, [plain_prose("gone")], late_ms=60_001)
    farm.start_worker("gpu")
    until("it is counted", lambda: _counted(farm).get("jobs:expired") == 1)
    until("it is not left behind", lambda: farm.redis.llen(keys.taken("gpu")) == 0)
    assert farm.redis.hlen(keys.cache("tag")) == 0
    assert "batches" not in _counted(farm)
    assert farm.redis.llen("farm:replies:test") == 1


_WORKS_ON = """
import threading
from workers.engines.model_session import ModelSession
from workers import worker
warm_up, run, warm = worker.warm_up, ModelSession._run, []
worker.warm_up = lambda engines: (warm_up(engines), warm.append(True))[0]
ModelSession._run = lambda *given: threading.Event().wait() if warm else run(*given)
"""
"""Makes the model's inference never end."""


def test_worker_killed_during_inference_loses_no_answer(
    own_farm: Callable[..., Farm], model: Path
) -> None:
    farm = own_farm(model_dir=model, deadline_ms=60_000, log_level="debug").start(cpu=0, gpu=0)
    first = farm.start_worker("gpu", _WORKS_ON)
    second = farm.start_worker("gpu")
    farm.until_ready(cpu=0, gpu=2)

    def popping() -> int:
        return sum(c["cmd"] == "blmove" and "b" in c["flags"] for c in farm.redis.client_list())

    first.signal(signal.SIGSTOP)
    second.signal(signal.SIGSTOP)
    # A stopped worker's blocking pop would still take a job: let them time out first.
    until("no worker waits for jobs", lambda: popping() == 0)
    bodies = {user(): _asked(plain_prose(f"killed {n}")) for n in range(3)}
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = [pool.submit(farm.post, body, name) for name, body in bodies.items()]
        until("all wait", lambda: farm.redis.llen(keys.queue("gpu")) == len(bodies))
        first.signal(signal.SIGCONT)
        until("the model runs", lambda: f'"jobs": {len(bodies)}' in first.log.read_text())
        first.signal(signal.SIGKILL)
        first.wait()
        assert farm.redis.llen(keys.taken("gpu")) == len(bodies)
        second.signal(signal.SIGCONT)
        found = [answer.result() for answer in answers]
    assert [answer.status for answer in found] == [200] * len(bodies)
    assert [answer.json["degraded"] for answer in found] == [[]] * len(bodies)
    assert _counted(farm)["jobs:again"] == len(bodies)
    until("all are done", lambda: _counted(farm).get("jobs:done") == len(bodies))
    for (name, body), answer in zip(bodies.items(), found, strict=True):
        assert answer.json["tokens_saved"] > 0
        assert farm.post(body, name).json["messages"] == answer.json["messages"]
    until("nothing is left", lambda: farm.redis.llen(keys.taken("gpu")) == 0)


_BREAKS = """
from workers.engines.model_session import ModelSession
real, lost = ModelSession._run, []
def run(self, ids, mask):
    try:
        assert not lost
        return real(self, ids, mask)
    except Exception as error:  # as after an error that a GPU does not recover from
        lost.append(error)
        raise
ModelSession._run = run
"""


def test_worker_with_broken_model_is_replaced(own_farm: Callable[..., Farm], model: Path) -> None:
    farm = own_farm(model_dir=model).start(cpu=0, gpu=0)
    breaks = farm.start_worker("gpu", _BREAKS)
    farm.until_ready(cpu=0)
    good = _asked(plain_prose("good"))
    assert farm.post(good, user()).json["tokens_saved"] > 0
    assert farm.post(_asked(plain_prose(POISON)), user()).json["degraded"] == ["engine"]
    assert breaks.wait() == 2
    said = breaks.log.read_text()
    assert "the model broke" in said
    assert "Traceback" not in said
    farm.until_ready(cpu=0, gpu=0)
    farm.start_worker("gpu")
    farm.until_ready(cpu=0)
    assert farm.post(good, user()).json["tokens_saved"] > 0
    # Here only the text is the cause, and the worker continues.
    assert farm.post(_asked(plain_prose(POISON)), user()).json["degraded"] == ["engine"]
    assert farm.post(good, user()).json["tokens_saved"] > 0


@pytest.mark.parametrize("kind", ["none", "foreign"])
def test_runs_text_crusher_without_usable_model(
    own_farm: Callable[..., Farm], tmp_path: Path, kind: str
) -> None:
    directory = tmp_path / "m"
    if kind == "foreign":
        foreign_model(directory)
    farm = own_farm(model_dir=directory).start(cpu=0)
    until("the engine is known", lambda: _engines(farm))
    (engine,) = _engines(farm)
    reason = {"none": "no model directory", "foreign": "another contract"}[kind]
    assert engine["engine"] == "text_crusher"
    assert reason in engine["reason"]
    assert reason in _worker(farm).log.read_text()
    answer = farm.post(_asked(plain_prose()), user()).json
    assert answer["tokens_saved"] > 0
    assert "farm:text:text_crusher" in answer["transforms_applied"]
    assert len(answer["ccr_hashes"]) == 1
