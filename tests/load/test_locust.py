"""The Locust users run against a real farm, and their limits decide the run's exit code."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..farm import Farm

JUDGE = """
import json, sys
from types import SimpleNamespace as Name
from loadtest import locustfile
for given in json.loads(sys.argv[1]):
    locustfile.DEGRADED.answers, locustfile.DEGRADED.degraded = 100, given["degraded"]
    total = Name(
        num_requests=given["requests"],
        fail_ratio=given["failed"],
        total_rps=given["rps"],
        get_response_time_percentile=lambda part: given["p95"],
    )
    options = Name(max_p95_ms=100, max_fail_percent=1, max_degraded_percent=2, min_rps=10)
    environment = Name(stats=Name(total=total), parsed_options=options, process_exit_code=None)
    locustfile.judge(environment)
    print(environment.process_exit_code)
    print("====")
"""
"""Runs in a separate process, because Locust patches the sockets of the importing one."""


def test_run_is_recorded_and_judged(farm: Farm, tmp_path: Path) -> None:
    users = ["CodingAgent", "DevOpsAgent", "TextUser"]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", *users),
            *("--headless", "-H", farm.url, "-u", "3", "-r", "3", "-t", "3s", "--turns", "3"),
            *("--csv", str(tmp_path / "run"), "--html", str(tmp_path / "run.html")),
            *("--max-degraded-percent", "100", "--min-rps", "1000000"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    rows = list(csv.DictReader((tmp_path / "run_stats.csv").read_text().splitlines()))
    total = rows[-1]
    assert total["Name"] == "Aggregated"
    assert int(total["Request Count"]) > 0, ended.stderr
    assert total["Failure Count"] == "0", ended.stderr
    assert "<html" in (tmp_path / "run.html").read_text()
    # One limit that no machine can keep; no other is exceeded.
    assert ended.stdout.count("LIMIT EXCEEDED") == 1
    assert "LIMIT EXCEEDED: missing answers/s" in ended.stdout
    assert ended.returncode == 1


GOOD: dict[str, Any] = {"requests": 500, "failed": 0.0, "rps": 20.0, "p95": 50.0, "degraded": 0}
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"p95": 101.0}, "p95 ms"),
    ({"failed": 0.02}, "failed %"),
    ({"degraded": 3}, "degraded %"),
    ({"rps": 9.0}, "missing answers/s"),
    ({"requests": 0, "p95": None}, "no answer at all"),
]


def test_run_fails_only_beyond_limits() -> None:
    given = [{**GOOD, **worse} for worse, _ in CASES]
    command = [sys.executable, "-c", JUDGE, json.dumps(given)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    runs = ended.stdout.split("====\n")[:-1]
    assert len(runs) == len(CASES)
    for run, (_, said) in zip(runs, CASES, strict=True):
        assert run.split()[-1] == ("1" if said else "0"), said
        assert run.count("LIMIT EXCEEDED") == bool(said)
        assert f"LIMIT EXCEEDED: {said}" in run or not said
