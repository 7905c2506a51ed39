"""JSON that tools print with an element a line, whole, cut off, or found by a search."""

from __future__ import annotations

import json
import random

import pytest

from workers.fidelity import choose
from workers.fidelity.json_cut import shortened_cut
from workers.fidelity.json_form import parsed, shortened

from .expand import expanded

_RNG = random.Random(3)
ROWS = [
    {"id": 10_000 + n, "city": _RNG.choice(["Oslo", "Turku"]), "amount": _RNG.randrange(900) / 8}
    for n in range(40)
]


def _a_line(first: str, between: str, last: str, separators: tuple[str, str]) -> str:
    rows = between.join(json.dumps(row, separators=separators) for row in ROWS)
    return f"[{first}{rows}{last}]"


STYLES = {
    "sqlite3": _a_line("", ",\n", "", (",", ":")),
    "brackets on lines": _a_line("\n", ",\n", "\n", (", ", ": ")),
    "indented": _a_line("\n  ", ",\n  ", "\n", (", ", ": ")),
    "blank behind comma": _a_line("\n\t", ", \n\t", "\n", (", ", ": ")) + "\n",
}


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES.keys())
def test_list_with_element_a_line_becomes_table(text: str) -> None:
    form = shortened(text, parsed(text))

    assert form is not None
    assert form.inverse(form.text) == text
    assert '[40]{"id","city","amount"}' in form.text
    assert "nothing lost: line breaks between elements and repeated keys omitted" in form.text
    assert len(form.text) < 0.6 * len(text)


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES.keys())
@pytest.mark.parametrize("end", [1, 2, 5, 40, 200])
def test_cut_list_with_element_a_line_comes_back(text: str, end: int) -> None:
    cut = text[:-end]
    form = shortened_cut(cut)

    assert form is not None
    assert form.inverse(form.text) == cut
    assert len(form.text) < 0.7 * len(cut)
    assert "last 1 brackets" not in form.text


def _log(count: int) -> list[str]:
    rng = random.Random(5)
    return [
        json.dumps(
            {
                "ts": f"2026-11-23T08:{n:02}:13.{rng.randrange(1000):03}Z",
                "level": "info",
                "service": rng.choice(["api", "auth"]),
                "trace": f"{rng.getrandbits(64):016x}",
                "msg": "request done",
                "ms": rng.randrange(900) / 10,
            }
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("path", ["", "logs/app.jsonl:"])
def test_matches_in_log_of_json_become_rows(path: str) -> None:
    lines = [f"{path}{n}{'-:'[n % 5 == 0]}{line}" for n, line in enumerate(_log(45), 480)]
    text = "\n".join(lines)
    form = choose(text, "search", None).text

    assert form is not None
    assert len(form) < 0.6 * len(text)
    assert expanded(form) == text


def test_matches_in_json_without_time_stay() -> None:
    rows = [json.dumps({"route": f"/a{n}", "view": f"view_{n}", "name": "a"}) for n in range(60)]
    text = "\n".join(f"{n}:  {row}," for n, row in enumerate(rows, 10))

    assert choose(text, "search", None).text is None
