"""The text pool with a model, as real processes: batches, deaths, deadlines, what it says."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from loadtest.graphs import POISON, build_model, foreign_model
from shared import keys
from shared.jobs import Block, Job, Options, job_data

from ..farm import Farm, Process, request, until, user
from ..texts import conversation, prose, ran


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


def _worker(farm: Farm) -> Process:
    return next(p for p in farm.parts if "worker-gpu" in p.log.name)


def _counted(farm: Farm) -> dict[str, float]:
    found: Any = farm.redis.hgetall(keys.metrics("gpu"))
    return {name.decode(): float(value) for name, value in found.items()}


def _engines(farm: Farm) -> Any:
    found: list[Any] = request(farm.url, "GET", "/readyz").json["text_engines"]
    return found


def _enqueue(farm: Farm, texts: list[str], *, expires: float) -> list[str]:
    """Put one job a text into the queue, as a front end would; return their ids."""
    ids = []
    for n, text in enumerate(texts):
        block = Block(f"k{n}", text, "tool_result", "user")
        job = Job("tag", "farm:replies:test", Options(), "", f"r{n}", expires, [block])
        ids.append(f"job-{n}")
        farm.redis.hset(keys.job(ids[-1]), "data", job_data(job))
        farm.redis.rpush(keys.queue("gpu"), ids[-1])
    return ids


def test_what_waits_is_one_batch_and_one_bad_text_fails_alone(
    own_farm: Callable[..., Farm], model: Path
) -> None:
    farm = own_farm(model_dir=model, deadline_ms=30_000).start(cpu=0)
    until("the engine is known", lambda: _engines(farm))
    assert [(e["engine"], e["provider"], e["workers"]) for e in _engines(farm)] == [
        ("kompress", "cpu", 1)
    ]
    assert "no CUDA" in _engines(farm)[0]["reason"]
    _worker(farm).signal(signal.SIGSTOP)
    texts = [prose(f"text {n}") for n in range(6)] + [prose(POISON)]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = [pool.submit(farm.post, conversation(ran(t)), user()) for t in texts]
        # A stopped worker's blocking pop still takes the first.
        until("the others wait", lambda: farm.redis.llen(keys.queue("gpu")) == len(texts) - 1)
        _worker(farm).signal(signal.SIGCONT)
        found = [a.result().json for a in answers]
    for answer in found[:-1]:
        assert answer["degraded"] == []
        assert answer["tokens_saved"] > 0
        assert "farm:text:kompress" in answer["transforms_applied"]
        assert len(answer["ccr_hashes"]) == 1
    assert found[-1]["degraded"] == ["engine"]
    assert found[-1]["tokens_saved"] == 0
    counted = _counted(farm)
    assert counted["batches"] < counted["jobs"] == len(texts)
    assert counted["rows"] >= len(texts)
    assert {"tokens", "wait_ms", "inference_ms"} <= counted.keys()
    until("nothing is left", lambda: farm.redis.llen(keys.taken("gpu")) == 0)


def test_a_text_can_be_had_back(own_farm: Callable[..., Farm], model: Path) -> None:
    farm = own_farm(model_dir=model).start(cpu=0)
    name, text = user(), prose("back")
    (digest,) = farm.post(conversation(ran(text)), name).json["ccr_hashes"]
    found = request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": name})
    assert found.json["original_content"] == text


def test_who_has_gone_is_dropped_and_counted(own_farm: Callable[..., Farm], model: Path) -> None:
    farm = own_farm(model_dir=model)
    farm.start_redis()
    _enqueue(farm, [prose("gone")], expires=time.time() - 1)
    farm.start_worker("gpu")
    until("it is counted", lambda: _counted(farm).get("expired") == 1)
    until("it is not left behind", lambda: farm.redis.llen(keys.taken("gpu")) == 0)
    assert farm.redis.hlen(keys.cache("tag")) == 0
    assert "batches" not in _counted(farm)
    assert farm.redis.llen("farm:replies:test") == 1


def test_a_killed_workers_batch_stays_in_the_intermediate_list(
    own_farm: Callable[..., Farm], model: Path
) -> None:
    farm = own_farm(model_dir=model, batch_max_jobs=4)
    farm.start_redis()
    farm.start_worker("gpu")
    until("it is there", lambda: farm.redis.zcard(keys.workers("gpu")))
    huge = [" ".join(prose(f"{n} {m}") for m in range(150)) for n in range(6)]
    _worker(farm).signal(signal.SIGSTOP)
    ids = _enqueue(farm, huge, expires=time.time() + 600)
    _worker(farm).signal(signal.SIGCONT)
    until("a batch is taken", lambda: farm.redis.llen(keys.taken("gpu")) >= 1)
    _worker(farm).signal(signal.SIGKILL)
    _worker(farm).wait()
    taken: Any = farm.redis.lrange(keys.taken("gpu"), 0, -1)
    waiting: Any = farm.redis.lrange(keys.queue("gpu"), 0, -1)
    assert taken
    assert {i.decode() for i in [*taken, *waiting]} <= set(ids)
    assert all(farm.redis.exists(keys.job(i.decode())) for i in taken)


@pytest.mark.parametrize("kind", ["none", "foreign"])
def test_without_a_usable_model_text_crusher_runs_and_says_so(
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
    answer = farm.post(conversation(ran(prose())), user()).json
    assert answer["tokens_saved"] > 0
    assert "farm:text:text_crusher" in answer["transforms_applied"]
    assert len(answer["ccr_hashes"]) == 1
