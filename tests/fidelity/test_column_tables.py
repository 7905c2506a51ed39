"""Tables that are aligned by blanks or drawn with bars become rows without their padding."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from workers.fidelity import choose
from workers.fidelity.padded_columns import rows_of_columns
from workers.fidelity.verify_form import plain

from .expand import expanded
from .texts import TEXTS, mutated

_RNG = random.Random(17)
HEAD = ["id", "customer", "country", "status", "total", "items", "currency", "paid by", "note"]
ROWS = [
    [
        str(440_000 + n),
        _RNG.choice(["Ada Lind", "Jörg von Weber-Hohenstein", "Tom"]),
        _RNG.choice(["SE", "DE", "NL"]),
        _RNG.choice(["captured", "pending", "waiting for payment"]),
        f"{_RNG.randrange(500, 90_000) / 100:.2f}",
        str(_RNG.randrange(1, 9)),
        _RNG.choice(["EUR", "SEK"]),
        _RNG.choice(["card", "invoice"]),
        _RNG.choice(["", "VIP", "call first"]),
    ]
    for n in range(60)
]
WIDTHS = [max(len(row[at]) for row in [HEAD, *ROWS]) for at in range(len(HEAD))]
RIGHT = (0, 4, 5)
Draw = Callable[[list[list[str]]], str]


def _cells(row: list[str]) -> list[str]:
    return [
        cell.rjust(width) if at in RIGHT else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(row, WIDTHS, strict=True))
    ]


def _drawn(rows: list[list[str]]) -> str:
    lines = ["|".join(f" {cell} " for cell in _cells(row)).rstrip() for row in [HEAD, *rows]]
    rule = "+".join("-" * (width + 2) for width in WIDTHS)
    return "\n".join([lines[0], rule, *lines[1:], f"({len(rows)} rows)", ""])


def _boxed(rows: list[list[str]]) -> str:
    lines = [f"│ {' │ '.join(_cells(row))} │" for row in [HEAD, *rows]]
    rules = [f"{a}{b.join('─' * (w + 2) for w in WIDTHS)}{c}" for a, b, c in ("┌┬┐", "├┼┤", "└┴┘")]
    return "\n".join([rules[0], lines[0], rules[1], *lines[1:], rules[2]])


def _aligned(rows: list[list[str]]) -> str:
    return "\n".join("   ".join(_cells(row)).rstrip() for row in [HEAD, *rows])


@pytest.mark.parametrize("draw", [_drawn, _boxed, _aligned])
def test_table_without_common_words_becomes_rows(draw: Draw) -> None:
    text = draw(ROWS)
    made = choose(text, "table", None).text

    assert made is not None
    assert plain(expanded(made)) == text
    assert len(made) < 0.8 * len(text)
    assert all(cell in made for row in ROWS for cell in row)


def test_failures_and_ends_of_table_stay_whole() -> None:
    rows = [list(row) for row in ROWS]
    rows[30][3] = "failed"
    text = _aligned(rows)
    lines = text.split("\n")
    form = rows_of_columns(text, "other", 2, len(lines) - 2)

    assert form is not None
    made = form.text.split("\n")
    assert made[:2] == lines[:2]
    assert made[-2:] == lines[-2:]
    assert lines[31] in made


def test_line_that_fits_no_column_stays_whole() -> None:
    lines = _aligned(ROWS).split("\n")
    lines.insert(20, "Notice: the next rows were imported by hand, with other columns")
    lines[40] = "  ".join(ROWS[39])
    text = "\n".join(lines)
    form = rows_of_columns(text, "other", 2, len(lines) - 2)

    assert form is not None
    assert form.inverse(form.text) == text
    assert {lines[20], lines[40]} <= set(form.text.split("\n"))


def test_sentences_are_no_table() -> None:
    rng = random.Random(4)
    words = ["the", "row", "table", "of", "with", "not", "every", "when", "reads", "a", "line"]
    text = "\n".join(" ".join(rng.choices(words, k=rng.randrange(6, 16))) for _ in range(80))

    assert rows_of_columns(text, "other", 2, 78) is None


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("draw", [_drawn, _boxed, _aligned])
def test_damaged_table_comes_back(seed: int, draw: Draw) -> None:
    text = plain(mutated(draw(random.Random(seed).sample(ROWS, 24)), seed))
    count = text.count("\n") + 1
    form = rows_of_columns(text, "other", 0, count)

    assert form is None or form.inverse(form.text) == text


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_comes_back(name: str) -> None:
    text = plain(TEXTS[name](5))
    form = rows_of_columns(text, "other", 0, text.count("\n") + 1)

    assert form is None or form.inverse(form.text) == text
