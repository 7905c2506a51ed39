"""TextCrusher with its guard: fragile parts stay, headroom chooses among the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.needles import plant, prose
from shared.headroom import TextCrusherEngine

_ENGINE = TextCrusherEngine()
_FILLER = [
    f"The {a} of the {b} is described at some length in this part of the text."
    for a in ("history", "purpose", "design", "background")
    for b in ("library", "project", "format", "service", "parser")
]


def _kept(text: str) -> str:
    spans = _ENGINE.kept(text, "", None)
    return "\n".join(text[start:end].strip("\n") for start, end in spans)


@pytest.mark.parametrize(
    "line",
    [
        "## Recovery of the ledger",
        "The window is 300 seconds.",
        "It listens on 10.0.0.1:8080 by default.",
        "Call flush_ledger when it ends.",
        "A KeyError means that the table is gone.",
        "Use json.dumps(value) for that.",
        "Pass --dry-run first.",
        "Do not restart the node while a backup runs.",
        "It works except on weekends.",
        "The address was 0xdeadbeef then.",
    ],
)
def test_keeps_fragile_line_whole_and_in_order(line: str) -> None:
    text = "\n".join([*_FILLER[:10], line, *_FILLER[10:]])
    kept = _kept(text).split("\n")
    assert line in kept
    assert len(kept) < len(text.split("\n"))
    assert [k for k in kept if k != line] == [f for f in _FILLER if f in kept]


def test_keeps_underlined_heading() -> None:
    text = "\n".join([*_FILLER[:9], "", "Key features", "============", *_FILLER[9:]])
    kept = _kept(text).split("\n")
    place = kept.index("============")
    assert kept[place - 1] == "Key features"


def test_keeps_planted_facts_in_real_documents() -> None:
    lost, before, after = [], 0, 0
    for seed, document in enumerate(prose()[:40]):
        text, needles = plant(document, seed)
        kept = _kept(text)
        before, after = before + len(text), after + len(kept)
        lost += [needle.text for needle in needles if not needle.kept.search(kept)]
    assert lost == []
    # Nearly every sentence of a real document has a number, a name or a negation in it.
    assert after < 0.99 * before


@given(st.lists(st.text(max_size=60), max_size=30))
@settings(max_examples=200, deadline=None)
def test_output_is_a_subsequence_of_input(lines: list[str]) -> None:
    text = "\n".join(lines)
    kept = _kept(text)
    rest = iter("".join(text.split()))
    assert all(character in rest for character in "".join(kept.split()))
