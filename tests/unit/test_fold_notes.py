"""A reference never hides a note whose lines go on behind it."""

from __future__ import annotations

import random

import pytest

from api.pipeline.fold.line_index import FoldIndex
from api.pipeline.fold.notes import scopes_of, uncut
from api.pipeline.fold.references import Source, unfold

SOURCE = Source("toolu_1", "Bash: report")
RNG = random.Random(5)
VALUES = [f"{n:02} | {RNG.randrange(10**9)} | {RNG.randrange(10**29)}" for n in range(1, 13)]
FORMS = {
    "prefix": ['[... each of the next 12 lines begins with "| NL | 2026-", omitted in them ...]',
               *VALUES],
    "table": ['[12]{"month","sold","of"}', *[value.replace(" | ", ",") for value in VALUES]],
}  # fmt: skip


def _other(form: list[str], cut: int) -> list[str]:
    """Return the form with another line at ``cut``, counted from its end."""
    return [*form[: len(form) - cut], f"...{RNG.randrange(10**9)}", *form[len(form) - cut + 1 :]]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("cut", [1, 2, 6, 9])
def test_note_stays_in_sight_of_its_lines(name: str, cut: int) -> None:
    above = [f"line {n} of the report, which says {RNG.randrange(10**29)}" for n in range(9)]
    source = "\n".join([*above, *FORMS[name], "the end"])
    text = "\n".join([*above, *_other(FORMS[name], cut), "the end"])
    index = FoldIndex()
    index.add(SOURCE, source)
    folded = index.fold(text, "toolu_2", written=True)

    assert folded is not None
    assert unfold(folded, {SOURCE: source}) == text
    assert FORMS[name][0] in folded.text.split("\n")


@pytest.mark.parametrize("name", FORMS)
def test_note_goes_with_all_of_its_lines(name: str) -> None:
    text = "\n".join(["the beginning of it", *FORMS[name], "the end of it"])
    index = FoldIndex()
    index.add(SOURCE, text)
    folded = index.fold(f"{text}\nand more", "toolu_2", written=True)

    assert folded is not None
    assert FORMS[name][0] not in folded.text.split("\n")


def test_output_that_is_no_form_is_not_cut() -> None:
    text = "\n".join([*FORMS["prefix"], "the end"])
    index = FoldIndex()
    index.add(SOURCE, text)
    folded = index.fold("\n".join([*_other(FORMS["prefix"], 2), "the end"]), "toolu_2")

    assert folded is not None
    assert FORMS["prefix"][0] not in folded.text.split("\n")


def test_larger_part_of_lines_is_kept() -> None:
    scopes = scopes_of(["a", "b", *FORMS["table"], "c"])

    assert uncut(scopes, 0, 3) == (0, 2)
    assert uncut(scopes, 0, 9) == (3, 9)
    assert uncut(scopes, 0, 15) == (0, 15)
    assert uncut(scopes, 5, 9) == (5, 9)
