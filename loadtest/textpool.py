"""How fast the text pool is: requests as users see them, and tokens against bare ONNX Runtime.

    python -m loadtest.graphs /var/tmp/model [--base]
    python -m loadtest.textpool --model /var/tmp/model [--users 1,50,200] [--requests 400]

Starts a farm with one worker of each pool on this machine, has each user post new prose of
about 600 words as a tool result, and prints p50 and p95 (milliseconds) and how many answers
were degraded. Then, in this process, compares tokens a second: the engine with headroom's
rules around it, against ``session.run`` alone on the same rows in the same passes.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.jobs import Block, Job, Options
from shared.settings import load_settings
from shared.upstream import KompressEngine
from workers.batcher import BatchCount, prepared
from workers.engines import kompress
from workers.engines.session import Session, batches
from workers.limits import Limit
from workers.tasks import Engines, compress_block

from .needles import prose

_WORDS = 600
_LIMIT_SECONDS = 600


def texts(count: int, seed: int) -> list[str]:
    """Return ``count`` texts of about 600 words, no two alike, cut from real documents."""
    chance = random.Random(seed)
    sources = [words for text in prose() if len(words := text.split(" ")) > _WORDS]
    found = []
    for n in range(count):
        words = chance.choice(sources)
        start = chance.randrange(len(words) - _WORDS)
        found.append(f"Part {seed}-{n}. " + " ".join(words[start : start + _WORDS]))
    return found


def ask(url: str, user: str, text: str) -> tuple[float, dict[str, Any]]:
    """Post one conversation; return seconds and the answer."""
    block = {"type": "tool_result", "tool_use_id": "a", "content": text}
    call = {"type": "tool_use", "id": "a", "name": "Bash", "input": {"command": "make doc"}}
    messages = [
        {"role": "user", "content": "what does it say"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [block]},
    ]
    body = json.dumps({"messages": messages, "model": "claude-x"})
    parts = urlsplit(url)
    headers = {"content-type": "application/json", "x-maas-username": user}
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    started = time.perf_counter()
    try:
        connection.request("POST", "/v1/compress", body, headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return time.perf_counter() - started, answer


def at(url: str, users: int, requests: int) -> str:
    """Return the table's row for so many users at once."""
    jobs = list(enumerate(texts(requests, seed=users)))
    started = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        done = list(pool.map(lambda job: ask(url, f"u{users}-{job[0]}", job[1]), jobs))
    wall = time.perf_counter() - started
    spent = sorted(seconds * 1000 for seconds, _ in done)
    p95 = spent[min(len(spent) - 1, int(len(spent) * 0.95))]
    late = sum(bool(answer["degraded"]) for _, answer in done)
    p50 = statistics.median(spent)
    return f"| {users} | {p50:.0f} | {p95:.0f} | {requests / wall:.1f} | {late} of {requests} |"


def against_bare(model: Path, count: int, rounds: int = 3) -> list[str]:
    """Return lines comparing the engine with the bare session, medians of alternating rounds."""
    settings = load_settings().model_copy(update={"model_dir": model})
    engine, status = kompress(settings)
    assert isinstance(engine, KompressEngine)
    session = engine.scorer
    assert isinstance(session, Session)
    engines = Engines("gpu", engine)
    limit = Limit(_LIMIT_SECONDS)
    ours, bare = [], []
    for n in range(rounds):
        blocks = [
            Block(f"k{i}", t, "tool_result", "user") for i, t in enumerate(texts(count, 1000 + n))
        ]
        jobs = [Job("u", "r", Options(), "", "", 0.0, [block]) for block in blocks]
        with engine.collect():
            for job in jobs:
                compress_block(job, job.blocks[0], engines, limit)
        rows = engine.rows
        engine.forget()
        started = time.perf_counter()
        for part in batches([len(row) for row in rows], session.batch_tokens):
            session.forward([rows[i] for i in part])
        bare.append(sum(map(len, rows)) / (time.perf_counter() - started))
        started = time.perf_counter()
        with prepared(jobs, engines, limit, BatchCount()):
            for job in jobs:
                compress_block(job, job.blocks[0], engines, limit)
        ours.append(sum(map(len, rows)) / (time.perf_counter() - started))
    pool, alone = statistics.median(ours), statistics.median(bare)
    return [
        f"provider {status.provider}, graph {status.graph}, {count} texts a round",
        f"pool {pool:,.0f} tokens/s, bare session.run {alone:,.0f} tokens/s: {pool / alone:.0%}",
    ]


def main() -> None:
    """Start a farm, measure, stop it, measure the engine, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--users", default="1,50,200")
    parser.add_argument("--requests", type=int, default=400, help="for each number of users")
    parser.add_argument("--texts", type=int, default=32, help="texts a round against bare runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        command = ["up", "--port", "0", "--data-dir", data, "--cpu-workers", "1"]
        farm = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", *command, "--gpu-workers", "1"],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "HEADROOM_MODEL_DIR": str(options.model),
                "HEADROOM_LOG_LEVEL": "warning",
            },
        )
        try:
            lines = iter(farm.stdout or ())
            url = next(line.split()[1] for line in lines if line.startswith("ready "))
            print("| users | p50 ms | p95 ms | requests/s | degraded |\n|---|---|---|---|---|")
            for users in map(int, options.users.split(",")):
                print(at(url, users, max(20, options.requests if users > 1 else 50)), flush=True)
        finally:
            farm.terminate()
            farm.wait(20)
    print("\n".join(against_bare(options.model, options.texts)))


if __name__ == "__main__":
    main()
