"""A reference never hides a note whose lines go on behind it."""

from __future__ import annotations

import random

import pytest

from api.pipeline.fold.line_index import FoldIndex
from api.pipeline.fold.note_ranges import scopes_of, uncut
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


ROWS = [f"...web-{n} {RNG.randrange(10**9)} 10.0.{n}.7" for n in range(12)]
LAYOUTS = {
    "rows": ("[... rows 1: 12 lines are like the next one, each row is its values for {}, parted by"
             ' " ", nothing is left out ...]', "...{} {} {} Running", "...{} {} {} Pending", ROWS),
    "blocks": ("[... rows 1: 12 blocks are like the next 2 lines, each row is its values for {},"
               ' parted by " ", nothing is left out ...]',
               "...{} {} {}\n...  state: up", "...{} {} {}\n...  state: down", ROWS),
    "again": ("[... rows 1: 1 line is like the next one, each row is its values for {}, parted by"
              ' " ", nothing is left out ...]',
              "...{} Running\n...web 0", "...{} Pending\n...web 0",
              ["a whole line", "[... rows 1 again: 12, nothing is left out ...]", *ROWS]),
    "names": ("[... rows by name: the next 1 line says how 12 lines below are read: each begins"
              " with a name and has its values for {}, nothing is left out ...]",
              "...web = {} {} Running", "...web = {} {} Pending",
              [row.replace("...", "...web ") for row in ROWS]),
    "prefix": ("", '[... each of the next 12 lines begins with "web/", omitted in them ...]',
               '[... each of the next 12 lines begins with "db/", omitted in them ...]', VALUES),
    "table": ("", '[12]{"used","free","of"}', '[12]{"free","used","of"}',
              [value.replace(" | ", ",") for value in VALUES]),
    "paths": ("[... each path is said once, above its lines, and omitted in them ...]",
              "api/a.py", "api/b.py",
              [f"{n}:{RNG.randrange(10**29)}" for n in range(12)]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_lines_that_are_read_otherwise_are_not_equal(name: str) -> None:
    note, one, other, lines = LAYOUTS[name]
    source = "\n".join([note, one, *lines, "the end"])
    index = FoldIndex()
    index.add(SOURCE, source)

    assert index.fold("\n".join(["more", note, other, *lines, "end"]), "b", written=True) is None
    same = "\n".join(["more", note, one, *lines, "end"])
    folded = index.fold(same, "toolu_2", written=True)
    assert folded is not None
    assert unfold(folded, {SOURCE: source}) == same
    assert "\0" not in folded.text
