"""``go test -v``: that a test begins is said again by its result."""

from __future__ import annotations

import random

import pytest

from workers.fidelity import Lossy, choose
from workers.fidelity.go_runs import without_runs

from .texts import mutated

NAMES = ["Create", "Delete", "Update", "List", "Parse", "Round"]


def _run(seed: int, *, failing: float = 0.1) -> str:
    rng = random.Random(seed)
    lines: list[str] = []
    for package in ("api", "store", "pricing"):
        for name in rng.sample(NAMES, 5):
            test = f"Test{name}"
            inner = [f"{test}/{case}" for case in rng.sample(["empty", "one", "two"], 2)]
            lines += [f"=== RUN   {one}" for one in (test, *inner)]
            verdict = "PASS"
            if rng.random() < failing:
                lines.append(f"    {package}_test.go:{rng.randrange(90)}: got 3, want 4")
                verdict = "FAIL"
            lines.append(f"--- {verdict}: {test} ({rng.randrange(99) / 100:.2f}s)")
            lines += [f"    --- PASS: {one} (0.0{rng.randrange(9)}s)" for one in inner]
        lines += ["PASS", f"ok  \tshop.local/{package}\t{rng.randrange(999) / 100:.3f}s"]
    return "\n".join(lines)


def test_begun_tests_are_named_once() -> None:
    text = _run(1)
    form = without_runs(text)

    assert form is not None
    assert form.inverse(form.text) == text
    assert len(form.text) < 0.75 * len(text)
    results = [line for line in text.split("\n") if "--- " in line or "_test.go" in line]
    assert set(results) <= set(form.text.split("\n"))


def test_what_a_test_printed_stays_below_its_begin() -> None:
    lines = _run(2).split("\n")
    lines.insert(1, "    api_test.go:7: connecting")
    text = "\n".join(lines)
    form = without_runs(text)

    assert form is not None
    assert form.inverse(form.text) == text
    assert "\n".join(lines[:2]) in form.text


def test_run_without_begun_tests_stays() -> None:
    text = "\n".join(line for line in _run(3).split("\n") if not line.startswith("==="))

    assert without_runs(text) is None


@pytest.mark.parametrize("seed", range(60))
def test_damaged_run_comes_back(seed: int) -> None:
    text = mutated(_run(seed), seed)
    form = without_runs(text)

    assert form is None or form.inverse(form.text) == text


def test_extract_of_passed_run_shows_no_begun_tests() -> None:
    text = "\n".join(_run(seed, failing=0) for seed in range(20))
    lossy = Lossy("log", lambda body: body[:3000], "a" * 24)
    made = choose(text, "test_run", lossy).text

    assert made is not None
    assert made.count("=== RUN") < 8


def test_passed_tests_stay_in_sight_where_rows_save_half() -> None:
    text = "\n".join(_run(seed, failing=0) for seed in range(20))

    def made(share: float) -> bool:
        lossy = Lossy("log", lambda body: body[: int(share * len(body))], "a" * 24)
        return choose(text, "test_run", lossy).lossy

    assert not made(0.2)
    assert made(0.0)  # rows save just over half of what this saves
