"""The fidelity judge detects each kind of damage; the samples have every kind of text."""

from __future__ import annotations

import random

import pytest

from loadtest.fidelity.__main__ import MAKERS, samples
from loadtest.fidelity.judge import judge
from loadtest.fidelity.logs import service
from loadtest.fidelity.report import promises
from loadtest.fidelity.share import Share
from loadtest.fidelity.systems import MiddleOut, RandomLines

SAMPLE = service(random.Random(1), 120)
LINES = SAMPLE.text.split("\n")
HASH = "a" * 24
MARKER = f"[... 110 lines omitted ...]\n[110 lines omitted in all. Retrieve original: hash={HASH}]"


def _shown(*more: str) -> str:
    return "\n".join([*SAMPLE.must, *more, MARKER])


def test_judge_finds_facts_in_sight_behind_marker_and_lost() -> None:
    whole = judge(SAMPLE, SAMPLE.text, {}, "")
    assert (whole.behind, whole.lost, whole.hidden, whole.made_up) == (0, 0, [], [])
    kept = judge(SAMPLE, _shown(), {HASH: SAMPLE.text}, "log")
    assert kept.in_sight > 0
    assert kept.behind > 0
    assert (kept.lost, kept.hidden, kept.made_up, kept.inexact) == (0, [], [], 0)
    gone = judge(SAMPLE, _shown(), {}, "log")
    assert gone.lost == kept.behind


@pytest.mark.parametrize(
    ("result", "promise"),
    [
        (SAMPLE.text.replace(SAMPLE.must[0], ""), "what must be seen"),
        (_shown(LINES[3].replace("INFO", "WARN")), "no line is made up"),
        ("\n".join(x for n, x in enumerate(LINES) if n % 2 or x in SAMPLE.must), "no fact is lost"),
    ],
)
def test_each_damage_breaks_its_promise(result: str, promise: str) -> None:
    originals = {HASH: SAMPLE.text} if HASH in result else {}
    broken = [
        text
        for text, met in promises([judge(SAMPLE, result, originals, "x")], Share(1, 100))
        if not met
    ]
    assert broken
    assert all(text.startswith(promise) or "no fact is lost" in text for text in broken)
    assert any(text.startswith(promise) for text in broken)


def test_original_with_another_byte_is_inexact() -> None:
    judged = judge(SAMPLE, _shown(), {HASH: SAMPLE.text[:-1] + "?"}, "log")
    assert judged.inexact == 1


def test_code_must_not_be_replaced_by_marker() -> None:
    program = next(s for s in samples(1) if s.whole)
    assert judge(program, program.text, {HASH: program.text}, "x").hidden


def test_samples_are_of_every_kind_and_always_the_same() -> None:
    found = samples(1)
    assert found == samples(1)
    assert len({sample.name for sample in found}) == len(MAKERS)
    families = {sample.family for sample in found}
    assert {"log", "test run", "search", "diff", "code", "config", "json", "html"} <= families
    assert {"markdown", "prose", "table", "listing", "errors", "other"} <= families


@pytest.mark.parametrize("system", [MiddleOut(), RandomLines()])
def test_baselines_keep_to_the_size(system: MiddleOut | RandomLines) -> None:
    for size in (2000, len(SAMPLE.text)):
        result = system.shown(SAMPLE, size).text
        assert len(result) <= size + 40
        assert result.count("\n") > 8
