"""The search for rows takes short cuts: each gives what the long way gives."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fidelity import line_blocks as blocks
from workers.fidelity import must_see
from workers.fidelity import token_alignment as common_tokens
from workers.fidelity.line_blocks import CELLS_A_LINE, Blocks
from workers.fidelity.lines_as_rows import rows_of_records
from workers.fidelity.row_table import Table
from workers.fidelity.token_alignment import Budget, Kept, Literals, common, matched, tokens

from .texts import TEXTS

words = st.lists(st.sampled_from(["a", "ab", "1", "22", "-", ":", " ", "   ", "took"]), max_size=12)


@given(words, words)
def test_common_tokens_are_the_most_characters(one: list[str], other: list[str]) -> None:
    ours, theirs = tokens("".join(one)), tokens("".join(other))

    found = common(ours, theirs, Budget())

    assert found is not None
    kept = [token for token in found if token is not None]
    assert _weight(kept) == pytest.approx(_most_in_common(ours, theirs))


def _weight(found: Sequence[str]) -> float:
    return sum(len(token) if token[0] != " " else 0.3 for token in found)


def _most_in_common(ours: Sequence[str], theirs: Sequence[str]) -> float:
    best = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i, token in enumerate(ours, 1):
        for j, other in enumerate(theirs, 1):
            both = best[i - 1][j - 1] + _weight([token]) if token == other else 0.0
            best[i][j] = max(both, best[i - 1][j], best[i][j - 1])
    return best[-1][-1]


lines_of_blocks = st.lists(st.sampled_from(["at 1", "at 22", "by x", "by", "", "at"]), max_size=30)
parts_of_blocks = st.lists(
    st.sampled_from([("at ", ""), ("", "2"), ("by ", ""), ("a", "t", ""), ("",), ("", "")]),
    min_size=1,
    max_size=3,
)


@given(lines_of_blocks, parts_of_blocks, st.integers(-1, 40), st.integers(1, 30))
def test_places_of_blocks_are_found_as_by_a_walk(
    lines: list[str], parts: list[Literals], looks: int, most: int
) -> None:
    sought, walked = Blocks(lines, ""), Budget(looks * CELLS_A_LINE)
    sought.budget = Budget(looks * CELLS_A_LINE)

    found = sought.places(0, parts, most)

    assert found == _walk(lines, parts, walked, most)
    assert (sought.budget.left, sought.budget.left < 0) == (walked.left, walked.left < 0)


def _walk(
    lines: list[str], parts: list[Literals], budget: Budget, most: int
) -> tuple[list[int], int]:
    found, here = [], 0
    while here + len(parts) <= len(lines) and here < most and budget.take(CELLS_A_LINE):
        block = lines[here : here + len(parts)]
        fits = all(matched(one, line) is not None for one, line in zip(parts, block, strict=True))
        if fits:
            found.append(here)
        here += len(parts) if fits else 1
    return found, here


def test_kept_result_takes_as_much_of_the_budget() -> None:
    budget = Budget(10)
    kept: Kept[str, bool] = Kept(budget)

    found = [kept.get("a", lambda: budget.take(4)) for _ in range(3)]

    assert found == [True, True, False]
    assert budget.left == -2


@pytest.mark.parametrize("cells", [2_000, 9_000, 400_000])
@pytest.mark.parametrize("kind", ["log", "listing", "test_run"])
def test_rows_are_the_same_where_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, kind: str, cells: int
) -> None:
    monkeypatch.setattr(blocks, "Budget", lambda: Budget(cells))
    texts = [TEXTS[kind](seed) for seed in range(4)]
    kept = [rows_of_records(text, "log") for text in texts]
    monkeypatch.setattr(common_tokens, "_MOST_KEPT", 0)

    again = [rows_of_records(text, "log") for text in texts]

    assert [form and form.text for form in again] == [form and form.text for form in kept]


@given(st.lists(st.sampled_from(["took 7 ms", "took  8 ms", "took x y ms", "other"]), max_size=300))
def test_rows_of_many_lines_are_those_of_each(lines: list[str]) -> None:
    table = Table((("took ", " ms"),), ("",), " ")
    blocks_of = [[line] for line in lines]

    found = list(table.each_row(blocks_of))

    assert found == [next(iter(table.rows([block])), None) for block in blocks_of]
    assert [table.block(row) for row in found if row is not None] == [
        block for block in blocks_of if block[0].startswith("took")
    ]


def test_grouped_words_of_failures_are_found_alike() -> None:
    plain = "|".join([*(word + r"\b" for word in must_see._BAD_WORDS), *must_see._BAD_BEGUN])
    one_by_one = re.compile(rf"\b(?:{plain})")
    said = re.findall(r"[a-z]+", plain)
    lines = [f"{before}{word}{after}" for word in said for before in ("", "a ", "x")
             for after in ("", " 5", "ed", "=503", " /v1 502")]  # fmt: skip

    found = [bool(must_see._BAD.search(line)) for line in lines]

    assert found == [bool(one_by_one.search(line)) for line in lines]
    assert any(found)
