"""JSON among other lines: below headers, one after the other, with an end cut off."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from shared.content import classify, unwrap
from workers.fidelity import choose
from workers.fidelity.json_form import parsed
from workers.fidelity.json_parts import shortened_parts

_RNG = random.Random(11)
ROWS = [
    {
        "id": f"t_{n:04}",
        "open": n % 3 == 0,
        "from": {"id": _RNG.randrange(900), "tags": _RNG.sample(["a", "b", "c"], n % 3)},
        "note": _RNG.choice([None, "late, {again}", 'says "no"', "a\\b", "é"]),
    }
    for n in range(40)
]
HEADERS = "HTTP/1.1 200 OK\nContent-Type: application/json\nX-Request-Id: req_b23bc8c1\n\n"


def _pretty(value: object, margin: str = "", indent: int = 2) -> str:
    text = json.dumps(value, indent=indent)
    return "\n".join(margin + line for line in text.split("\n"))


def _came_back(text: str) -> str:
    form = shortened_parts(text)
    assert form is not None
    assert form.inverse(form.text) == text
    return form.text


@pytest.mark.parametrize(
    "body",
    [json.dumps({"data": ROWS, "more": True}), _pretty({"data": ROWS}), json.dumps(ROWS) + "\n"],
)
def test_body_below_headers_becomes_table(body: str) -> None:
    made = choose(HEADERS + body, "other", None)

    assert made.text is not None
    assert made.text.startswith(HEADERS)
    assert len(made.text) < 0.6 * len(HEADERS + body)


def test_objects_one_after_other_become_one_table() -> None:
    text = "\n".join(_pretty(row) for row in ROWS)
    made = _came_back(text)

    assert "40 values without commas between them as one list" in made
    assert '[40]{"id","open","from":{"id","tags"},"note"}' in made
    assert choose(text, "json", None).text is not None


@pytest.mark.parametrize(("start", "end"), [(0, 3000), (700, 4000), (2500, 10**9)])
def test_elements_of_list_cut_anywhere_become_table(start: int, end: int) -> None:
    text = _pretty({"kind": "List", "items": ROWS}, indent=4)[start:end]
    made = _came_back(text)

    assert len(made) < 0.7 * len(text)
    assert " values with commas between them as one list" in made


def test_list_cut_in_middle_by_harness_is_read_as_json() -> None:
    whole = _pretty({"kind": "List", "items": ROWS}, indent=4)
    cut = f"{whole[:4000]}…1394 tokens truncated…{whole[-4000:]}"
    text = (
        "Chunk ID: f62a15\nWall time: 0.1 seconds\nProcess exited with code 0\nOutput:\n"
        f"Warning: truncated output (original token count: 11394)\nTotal output lines: 640\n\n{cut}"
    )
    envelope = unwrap(text)

    assert envelope.body == cut
    assert classify(envelope, None).kind == "json"
    assert len(choose(cut, "json", None).text or cut) < 0.6 * len(cut)


def test_lines_around_values_stay_as_they_are() -> None:
    other = ["POST /a 200", "  { not json", "x }", "took 12 ms", "]", "{", "[a]"]
    blocks = [_pretty({"rows": ROWS[n : n + 9]}, " " * n) for n in range(len(other))]
    text = "\n".join(part for pair in zip(other, blocks, strict=True) for part in pair)
    made = _came_back(text).split("\n")

    assert [line for line in made if line in other] == other


def test_value_with_another_spelling_stays() -> None:
    odd = _pretty(ROWS[:9]).replace('"open": true', '"open" : true')

    assert shortened_parts(f"begin\n{odd}\nend") is None


@pytest.mark.parametrize("seed", range(40))
def test_any_mixture_comes_back(seed: int) -> None:
    rng = random.Random(seed)
    parts: list[str] = []
    for _ in range(rng.randrange(1, 9)):
        some = rng.sample(ROWS, rng.randrange(1, 12))
        margin = " " * rng.randrange(3)
        parts += rng.choice(
            [
                [_pretty(row, margin, rng.randrange(1, 3)) for row in some],
                [",\n".join(_pretty(row, margin) for row in some) + rng.choice(["", ","])],
                [margin + json.dumps(row, separators=(",", ":")) for row in some],
                [rng.choice(["", "}", "],", "{", "[", "x", "  ]", "null", "{}", "[],"])],
            ]
        )
    text = "\n".join(parts)
    form = shortened_parts(text)

    assert form is None or form.inverse(form.text) == text


def test_reading_is_bounded_where_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(text: str) -> Any:
        read.append(len(text))
        return parsed(text)

    monkeypatch.setattr("workers.fidelity.json_parts.parsed", counted)
    text = "\n".join(["{"] * 3000 + ['"a"'] + ["}"] * 3000)

    assert shortened_parts(text) is None
    assert sum(read) <= 3 * len(text)
