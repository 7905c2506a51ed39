"""What a note says of the lines that it stands for is true of each of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fidelity import omission_notes as notes
from workers.fidelity.extract import extract
from workers.fidelity.line_kinds import described


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["12", "7", "103"], "7..103"),
        (["took=12ms", "took=7ms"], "took=7ms..12ms"),
        (["[svc-4]", "[svc-0]"], "[svc-0..4]"),
        (["(0.25s),", "(0.5s),"], "(0.25s..0.5s),"),
        (["x9y", "x10y"], "x9y..x10y"),
        (["12ms", "3s"], "*"),
        (["0af3", "77c1"], "*"),
        (["00:01:12", "00:02:00"], "*"),
        (["ready", "gone"], "*"),
        (["v1.2", "v1.2"], "v1.2"),
    ],
)
def test_range_keeps_units_and_signs(words: list[str], said: str) -> None:
    assert described("*", words) == said


def test_lines_of_different_lengths_keep_their_kind() -> None:
    assert described("got *", ["got 1", "got 1 2"]) == "got *"


@given(st.lists(st.integers(0, 10**9), min_size=60, max_size=200))
def test_range_is_that_of_omitted_lines(numbers: list[int]) -> None:
    lines = [f"request {n} of {len(numbers)} took {number} ms" for n, number in enumerate(numbers)]
    ends = {*range(5), *range(len(lines) - 5, len(lines))}
    made = extract(lines, ends, "0" * 24, kinds=True)
    assert made is not None
    kind = next(found[2] for found in map(notes.KIND.fullmatch, made.split("\n")) if found)
    missing = numbers[5:-5]
    took = kind.partition(" took ")[2].removesuffix(" ms")

    if len(set(missing)) == 1:
        assert took == str(missing[0])
    else:
        assert took == f"{min(missing)}..{max(missing)}"
    assert kind.startswith(f"request 5..{len(lines) - 6} of {len(lines)} ")
