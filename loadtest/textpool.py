"""Measures the text pool: latency of requests, and tokens per second against bare ONNX Runtime.

    python -m loadtest.textpool [--users 1,50,200] [--requests 400] [--texts 32]
    python -m loadtest.textpool --model DIR

Without ``--model`` it generates two graphs, a small one and one of ModernBERT-base's size with
random weights, and measures both. It starts a farm with one worker per pool on this machine, lets
each user post new prose of about 1200 words as a tool result, and prints p50 and p95
(milliseconds), how many texts became shorter, and why others were degraded. Then, in this process,
it compares tokens per second: the engine including headroom's rules, against ``session.run`` alone
on the same rows in the same passes. Finally it shows which provider ran each kernel of a batch,
from ONNX Runtime's own profile, which proves whether CUDA was used.
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
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import onnxruntime as ort

from shared.content import classify
from shared.headroom import KompressEngine
from shared.jobs import Block, Job, Options, ToolCall
from shared.logs import configure as configure_logs
from shared.settings import load_settings
from workers.batcher import BatchCount, prepared
from workers.block_form import Engines
from workers.compress_block import compress_block
from workers.engines import kompress
from workers.engines.model_session import CPU, CUDA, OUTPUT, PROBE, ModelSession, batches
from workers.runtime.limits import Limit

from .graphs import build_base_model, build_model
from .needles import prose

_WORDS = 1200
"""Words per text; shorter prose would not be compressed."""
_CALL = ToolCall("Bash", "man harbour", "man harbour")
_ALONE = 50
_LIMIT_SECONDS = 600


def texts(count: int, seed: int) -> list[str]:
    """Return ``count`` different texts of about 1200 words, cut from real documents.

    Each is one that the farm passes to its text engine: not an error message, not only code.
    """
    chance = random.Random(seed)
    sources = [words for text in prose() if len(words := text.split(" ")) > _WORDS]
    found: list[str] = []
    while len(found) < count:
        words = chance.choice(sources)
        start = chance.randrange(len(words) - _WORDS)
        text = f"Part {seed}-{len(found)}. " + " ".join(words[start : start + _WORDS])
        if classify(text, _CALL).pool == "gpu":
            found.append(text)
    return found


def ask(url: str, user: str, text: str) -> tuple[float, dict[str, Any]]:
    """Post one conversation; return the seconds it took, and the answer."""
    block = {"type": "tool_result", "tool_use_id": "a", "content": text}
    call = {"type": "tool_use", "id": "a", "name": _CALL.name, "input": {"command": _CALL.command}}
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
    """Return the table's row for ``users`` concurrent users."""
    jobs = list(enumerate(texts(requests, seed=users)))
    started = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        done = list(pool.map(lambda job: ask(url, f"u{users}-{job[0]}", job[1]), jobs))
    wall = time.perf_counter() - started
    spent = sorted(seconds * 1000 for seconds, _ in done)
    p95 = spent[min(len(spent) - 1, int(len(spent) * 0.95))]
    shorter = sum(answer["tokens_saved"] > 0 for _, answer in done)
    reasons = Counter(reason for _, answer in done for reason in answer["degraded"])
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common()) or "none"
    p50 = statistics.median(spent)
    rate = requests / wall
    return f"| {users} | {p50:.0f} | {p95:.0f} | {rate:.1f} | {requests} | {shorter} | {why} |"


def against_bare(model: Path, count: int, rounds: int = 3) -> tuple[ModelSession, list[str]]:
    """Return the session, and lines that compare the engine with it (medians of alternating
    rounds)."""
    settings = load_settings().model_copy(update={"model_dir": model})
    engine, status = kompress(settings)
    assert isinstance(engine, KompressEngine)
    session = engine.scorer
    assert isinstance(session, ModelSession)
    engines = Engines("gpu", engine)
    limit = Limit(_LIMIT_SECONDS)
    ours, bare = [], []
    for n in range(rounds):
        blocks = [
            Block(f"k{i}", t, "tool_result", "user", _CALL)
            for i, t in enumerate(texts(count, 1000 + n))
        ]
        jobs = [Job("u", "r", Options(), "", "", [block]) for block in blocks]
        with engine.collect():
            for job in jobs:
                compress_block(job, job.blocks[0], engines, limit)
        rows = engine.rows
        engine.forget()
        started = time.perf_counter()
        for part in batches([len(row) for row in rows], session.pass_tokens):
            session.forward([rows[i] for i in part])
        bare.append(sum(map(len, rows)) / (time.perf_counter() - started))
        started = time.perf_counter()
        with prepared(jobs, engines, limit, BatchCount()):
            for job in jobs:
                compress_block(job, job.blocks[0], engines, limit)
        ours.append(sum(map(len, rows)) / (time.perf_counter() - started))
    pool, alone = statistics.median(ours), statistics.median(bare)
    return session, [
        f"provider {status.provider}, graph {status.graph}, {count} texts a round",
        f"pool {pool:,.0f} tokens/s, bare session.run {alone:,.0f} tokens/s: {pool / alone:.0%}",
    ]


def kernels(session: ModelSession, directory: Path) -> list[str]:
    """Return lines that show which providers ran a batch of ``session``'s graph, by a profile."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(directory / "profile")
    providers = list(dict.fromkeys((session.provider, CPU)))
    profiled = ort.InferenceSession(str(session.path), options, providers=providers)
    longest = max(map(len, PROBE))
    ids = np.array([[*row, *[0] * (longest - len(row))] for row in PROBE], dtype=np.int64)
    profiled.run([OUTPUT], {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})
    spent: dict[str, list[int]] = {}
    for event in json.loads(Path(profiled.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent.setdefault(event["args"]["provider"], []).append(event["dur"])
    lines = [f"providers of the session: {', '.join(profiled.get_providers())}"]
    given = profiled.get_provider_options().get(CUDA)
    if given is not None:
        lines.append(f"CUDA's options: {json.dumps(given, sort_keys=True)}")
    return lines + [
        f"{name} ran {len(times)} kernels of a batch in {sum(times) / 1000:.1f} ms"
        for name, times in sorted(spent.items())
    ]


def requests_table(model: Path, users: list[int], requests: int, data: Path) -> None:
    """Start a farm with ``model``, print its text engine and the table's rows, stop it."""
    command = ["up", "--port", "0", "--data-dir", str(data), "--cpu-workers", "1"]
    farm = subprocess.Popen(
        [sys.executable, "-P", "-m", "deploy.cli", *command, "--gpu-workers", "1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HEADROOM_MODEL_DIR": str(model), "HEADROOM_LOG_LEVEL": "warning"},
    )
    try:
        lines = iter(farm.stdout or ())
        url = next((line.split()[1] for line in lines if line.startswith("ready ")), None)
        if url is None:
            raise SystemExit("the farm did not start")
        print(f"the farm's text engine: {json.dumps(_engines(url))}\n")
        print("| users | p50 ms | p95 ms | requests/s | requests | shorter | degraded |")
        print("|---|---|---|---|---|---|---|")
        for count in users:
            asked = requests if count > 1 else min(requests, _ALONE)
            print(at(url, count, asked), flush=True)
    finally:
        farm.terminate()
        farm.wait(20)


def _engines(url: str) -> Any:
    with urlopen(f"{url}/readyz") as answer:
        return json.load(answer)["text_engines"]


def main() -> None:
    """Generate the graphs, measure, and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="measure this model only")
    parser.add_argument("--users", default="1,50,200")
    parser.add_argument(
        "--requests", type=int, default=400, help="requests for each number of users"
    )
    parser.add_argument("--layers", type=int, default=22, help="layers of the larger graph")
    parser.add_argument("--texts", type=int, default=32, help="texts a round against bare runs")
    options = parser.parse_args()
    configure_logs(load_settings().model_copy(update={"log_level": "warning"}))
    users = [int(count) for count in options.users.split(",")]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        if options.model:
            models = {"the model given": options.model}
        else:
            models = {"the small graph": build_model(directory / "small")}
            models[f"ModernBERT-base's size, {options.layers} layers"] = build_base_model(
                directory / "base", layers=options.layers
            )
        for name, model in models.items():
            print(f"\n## {name}\n", flush=True)
            requests_table(model, users, options.requests, directory / f"data-{model.name}")
            session, lines = against_bare(model, options.texts)
            print("\n" + "\n".join([*lines, *kernels(session, directory)]), flush=True)


if __name__ == "__main__":
    main()
