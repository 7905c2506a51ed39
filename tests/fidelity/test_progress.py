"""Progress bars: the states that a terminal draws over are behind a marker, all else in sight."""

from __future__ import annotations

import random

import pytest

from shared.content import classify, drawn_over, in_states
from shared.jobs import Block, Form, Job, Options, ToolCall
from workers.block_form import Engines, faithful_form
from workers.fidelity import choose


def bar(epoch: int, *, behind: bool = False, end: str = "\n") -> str:
    """Return a bar that is drawn 60 times, each time before or ``behind`` a carriage return."""
    states = [f"epoch {epoch}: {n:3d}%|{'#' * (n // 10):<10}| loss={2.3 / (n + 1):.4f}"
              for n in range(0, 101, 2)]  # fmt: skip
    return ("\r" + "\r".join(states) if behind else "\r".join(states)) + end


def form_of(text: str, *, options: Options | None = None) -> Form:
    block = Block("k", text, "tool_result", "user", ToolCall("Bash", "./train.sh", "./train.sh"))
    job = Job("u", "r", options or Options(), "what", "id", [block])
    return faithful_form(job, block, Engines("cpu", None)).form


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_bar_shows_its_first_and_last_state(behind: bool, end: str) -> None:
    text = "loading\n" + "".join(
        bar(n, behind=behind, end=end) + f"val_loss={n / 7:.3f}\n" for n in range(3)
    )
    form = form_of(text)
    assert form.text is not None
    assert form.lossy
    assert len(form.text) < len(text) / 5
    shown = [line.rstrip() for line in form.text.split("\n")]
    for n in range(3):
        assert f"epoch {n}:   0%|          | loss=2.3000" in shown
        assert f"epoch {n}: 100%|##########| loss=0.0228" in shown
        assert f"val_loss={n / 7:.3f}" in shown
    assert shown.count("[... 49 lines omitted ...]") == 3


def test_failure_in_a_bar_stays_in_sight() -> None:
    states = [f"fetching {n} of 60" for n in range(60)]
    states[30] = "fetching 30 of 60: connection reset, again"
    form = form_of("\r".join(states) + "\ndone\n")
    assert form.text is not None
    assert states[30] in form.text.split("\n")


def test_bar_without_markers_loses_nothing() -> None:
    text = "loading\n" + bar(1) + "done in 4 s\nall is saved\n"
    made = choose(text, "other", None)
    assert made.text is not None
    assert not made.lossy
    assert len(made.text) < 0.8 * len(text)


def test_lines_of_windows_are_not_drawn_over() -> None:
    text = "".join(f"build step {n} of 90 took {n * 7 % 50} ms\r\n" for n in range(90))
    assert in_states(text) == text
    assert not any(drawn_over(text))
    assert not classify(text, None).redrawn


def test_few_states_stay() -> None:
    text = "\r".join(f"waiting {n} s" for n in range(8)) + "\n" + "a line of the report\n" * 40
    assert not classify(text, None).redrawn


@pytest.mark.parametrize("end", ["\n", "", "x"])
def test_many_carriage_returns_are_read_once(end: str) -> None:
    text = "\r" * 1_000_000 + end  # looked at from each of them, it would take minutes
    assert len(drawn_over(text)) == len(in_states(text).split("\n"))


@pytest.mark.parametrize("seed", range(40))
def test_each_state_is_told_apart(seed: int) -> None:
    pick = random.Random(seed)
    text = "".join(pick.choice(["\r", "\n", "\r\n", "a", "bc ", " "]) for _ in range(60))
    lines = in_states(text).split("\n")
    over = drawn_over(text)
    assert len(over) == len(lines)
    assert "".join(lines).replace("\r", "") == text.replace("\r", "").replace("\n", "")
    assert over.count(False) == text.count("\n") + 1
