"""What a note says of the lines that it stands for is true of each of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fidelity import omission_notes as notes
from workers.fidelity.extract import extract
from workers.fidelity.line_kinds import Kinds, described


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
        (["-5", "-3"], "*"),
        (["temp=-5", "temp=7"], "*"),
        (['"a":-1', '"a":-9'], "*"),
        (["\N{MINUS SIGN}5", "\N{MINUS SIGN}3"], "*"),
        ([".5", ".25"], "*"),
        (["v1.9", "v1.10"], "*"),
        (["007", "7"], "*"),
        (["1" * 16, "2" * 16], "*"),
        (["(a5)", "(a7)"], "(a5..a7)"),
        (["x" * 61 + "1", "x" * 61 + "2"], "*"),
    ],
)
def test_range_keeps_units_and_signs(words: list[str], said: str) -> None:
    assert described("*", words) == said


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("* gone *", ["a1 gone 7 8", "a2 7 gone 8"]),
        ("* ERR *", ["A1 ERR 7q7 8q8", "B2 9q9 ERR 5q5"]),
    ],
)
def test_words_at_other_places_keep_the_kind(kind: str, lines: list[str]) -> None:
    assert described(kind, lines) == kind


def test_lines_of_different_lengths_keep_their_kind() -> None:
    assert described("got *", ["got 1", "got 1 2"]) == "got *"


@given(st.lists(st.integers(0, 10**9), min_size=60, max_size=200))
def test_range_is_that_of_omitted_lines(numbers: list[int]) -> None:
    lines = [f"request {n} of {len(numbers)} took {number} ms" for n, number in enumerate(numbers)]
    ends = {*range(5), *range(len(lines) - 5, len(lines))}
    made = extract(lines, ends, "0" * 24, kinds=Kinds(lines))
    assert made is not None
    kind = next(found[2] for found in map(notes.KIND.fullmatch, made.split("\n")) if found)
    missing = numbers[5:-5]
    took = kind.partition(" took ")[2].removesuffix(" ms")

    if len(set(missing)) == 1:
        assert took == str(missing[0])
    else:
        assert took == f"{min(missing)}..{max(missing)}"
    assert kind.startswith(f"request 5..{len(lines) - 6} of {len(lines)} ")


def test_note_of_a_log_of_numbers_says_their_ranges() -> None:
    lines = [f"pump-{n % 4} rate={n % 90}% seq={n}" for n in range(300)]
    made = extract(lines, {0, 1, 298, 299}, "0" * 24, kinds=Kinds(lines))
    assert made is not None

    assert "like: pump-0..3 rate=0..89% seq=2..297 ...]" in made
