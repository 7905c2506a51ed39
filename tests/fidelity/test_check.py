"""The check detects each kind of damage and accepts faithful results."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.originals_in_redis import digest_of
from workers.fidelity import check
from workers.fidelity.extract import extract
from workers.fidelity.line_kinds import Kinds
from workers.fidelity.reversible import folded_prefixes

LINES = [f"2026-01-01 00:00:{n:02d} INFO unit {n} did not stop" for n in range(40)]
TEXT = "\n".join(LINES)
DIGEST = digest_of(TEXT)
GOOD = extract(LINES, {0, 1, 20, 38, 39}, DIGEST, kinds=Kinds(LINES)) or ""


def test_an_extract_of_whole_lines_passes() -> None:
    assert check(TEXT, GOOD, digest=DIGEST).kind == "extract"


@pytest.mark.parametrize(
    ("was", "now", "reason"),
    [
        ("unit 20 did not stop", "unit 20 did stop", "not a line of the original here"),
        (LINES[0], f"{LINES[0]}\nINFO made up", "not a line of the original here"),
        (LINES[38], LINES[37], "not a line of the original here"),
        ("[... 18 lines omitted ...]", "[... 17 lines omitted ...]", "not a line of the original"),
        ("[... 18 lines omitted ...]\n", "", "not a line of the original here"),
        (f"{LINES[38]}\n{LINES[39]}\n", "", "lines missing without a note"),
        ("[35 lines", "[34 lines", "a wrong count"),
        (f"hash={DIGEST}", f"hash={'0' * 24}", "not one marker"),
        ("[35 lines", f"<<ccr:{DIGEST}>>\n[35 lines", "not one marker"),
        ("are like: ", "are like: fatal ", "a word of its own"),
        ("all 35 of the omitted", "36 of the omitted", "a wrong count"),
    ],
)
def test_each_kind_of_damage_fails_the_check(was: str, now: str, reason: str) -> None:
    assert was in GOOD
    found = check(TEXT, GOOD.replace(was, now, 1), digest=DIGEST)
    assert found.kind == "unfaithful"
    assert found.reason.startswith(reason)


def test_a_text_with_notes_of_its_own_has_no_extract() -> None:
    own = "\n".join([*LINES, "[... 3 lines omitted ...]"])
    made = extract(own.split("\n"), {0}, digest_of(own), kinds=None) or ""
    assert check(own, made, digest=digest_of(own)).reason == "the original holds notes"


def test_extract_without_visible_lines_fails() -> None:
    made = extract(LINES, set(), DIGEST, kinds=None) or ""
    assert check(TEXT, made, digest=DIGEST).reason == "nothing in sight"


def test_note_may_not_count_lines_beyond_the_end() -> None:
    made = extract(LINES, {0, 1}, DIGEST, kinds=None) or ""
    assert check(TEXT, made, digest=DIGEST).passes
    assert not check(TEXT, made.replace("38 lines", "39 lines"), digest=DIGEST).passes


def test_a_reversible_form_must_come_back_exactly() -> None:
    form = folded_prefixes(TEXT)
    assert form is not None
    assert check(TEXT, form.text, inverse=form.inverse).kind == "reversible"
    broken = form.text.replace("unit 7", "unit 8")
    assert check(TEXT, broken, inverse=form.inverse).reason == "another original"


def _no_way_back(error: Exception) -> Callable[[str], str]:
    def inverse(form: str) -> str:
        raise error

    return inverse


@pytest.mark.parametrize(
    ("form", "inverse", "reason"),
    [
        (TEXT, lambda form: "\n".join(LINES[:-1]), "another original"),
        (TEXT, lambda form: f"{TEXT}\nmore", "another original"),
        (TEXT, _no_way_back(ValueError("no number")), "no way back"),
        (TEXT, _no_way_back(IndexError("no line")), "no way back"),
        (f"{TEXT}\nhash={DIGEST}", lambda form: TEXT, "a marker in a reversible form"),
    ],
)
def test_a_reversible_form_is_refused(
    form: str, inverse: Callable[[str], str], reason: str
) -> None:
    assert check(TEXT, form, inverse=inverse).reason == reason


PROSE = "The basin is wide. It is not deep at all. The kiln stands near the jetty, and burns."


@pytest.mark.parametrize(
    ("shown", "counted", "passes"),
    [
        ("The basin is wide.\n[... 12 words omitted ...]\nand burns.", 12, True),
        ("The basin is wide.\n[... 12 words omitted ...]\nand dims.", 12, False),
        ("The basin is deep.\n[... 12 words omitted ...]\nand burns.", 12, False),
        ("The basin is wide.\n[... 12 words omitted ...]", 12, False),
        ("The basin is wide.\n[... 15 words omitted ...]", 15, False),
        ("The basin is wide.\n[... 12 words omitted ...]\nand burns.", 11, False),
        ("The basin is wide.\n[... 12 words omitted ...]\nand burns.", 13, False),
        ("[... 18 words omitted ...]", 18, False),
    ],
)
def test_prose_in_words_shows_and_counts_its_own(shown: str, counted: int, passes: bool) -> None:
    digest = digest_of(PROSE)
    made = f"{shown}\n[{counted} words omitted in all. Retrieve original: hash={digest}]"
    assert check(PROSE, made, digest=digest).passes is passes


@pytest.mark.parametrize(
    ("shown", "passes"),
    [
        ("The basin is wide. It is not deep. The kiln burns.", True),
        ("The basin is wide. It is deep. The kiln burns.", False),
        ("The basin is wide. It is not cold. The kiln burns.", False),
        ("It is not deep. The basin is wide.", False),
        ("", False),
    ],
)
def test_a_rendering_keeps_words_their_order_and_negations(shown: str, passes: bool) -> None:
    digest = digest_of(PROSE)
    made = f"{shown}\n[Text shortened to its key words. Retrieve original: hash={digest}]"
    assert check(PROSE, made, digest=digest, rendered="ordered").passes is passes


def test_a_rendering_keeps_every_negation_in_any_case() -> None:
    text = "Not one boat left. It was no storm and not late. The kiln stands near the jetty."
    digest = digest_of(text)
    tail = f"\n[Text shortened to its key words. Retrieve original: hash={digest}]"
    kept = "Not one boat left. It was no storm and not late."
    assert check(text, f"{kept}{tail}", digest=digest, rendered="ordered").passes
    lost = check(text, f"{kept[:-10]}{tail}", digest=digest, rendered="ordered")
    assert lost.reason == "a negation is gone"


def test_a_rendering_ends_with_its_marker() -> None:
    digest = digest_of(PROSE)
    found = check(PROSE, f"The basin is wide. hash={digest}", digest=digest, rendered="free")
    assert found.reason == "no marker at the end"


def test_note_in_a_rendering_may_use_only_its_words() -> None:
    tail = f"\n[Rows of the text. Retrieve original: hash={digest_of(PROSE)}]"
    for word, passes in (("kiln", True), ("furnace", False)):
        made = f"The basin\n[... 3 of the omitted rows are like: {word} ...]{tail}"
        found = check(PROSE, made, digest=digest_of(PROSE), rendered="free")
        assert found.passes is passes


def test_page_rendering_may_use_only_its_own_words() -> None:
    page = "<html><body><p>Ten &lt;units&gt; of copper</p><p>and one kiln</p></body></html>"
    digest = digest_of(page)
    tail = f"\n[HTML page reduced to its text. Retrieve original: hash={digest}]"
    assert check(page, f"Ten <units> of copper{tail}", digest=digest, rendered="free").passes
    assert not check(page, f"Nine <units>{tail}", digest=digest, rendered="free").passes
    assert not check(page, "Ten units", digest=digest, rendered="free").passes
