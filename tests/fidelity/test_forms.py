"""No kind of block is damaged: every form is verified independently."""

from __future__ import annotations

import json
import random
import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.fidelity.tables import commits
from shared.content import Kind
from shared.jobs import Block, Job, Options, ToolCall
from workers.block_form import Engines, Made, faithful_form
from workers.fidelity import Lossy, choose
from workers.fidelity.json_form import parsed, shortened
from workers.fidelity.json_lines import shortened_lines
from workers.fidelity.reversible import folded_prefixes, folded_repeats, grouped_matches

from .expand import expanded, whole_blame
from .texts import COMMANDS, TEXTS, diff, log, mutated, one_kind
from .texts import test_run as run_of_tests

NOTE = re.compile(
    r"<<ccr:|hash=[a-f0-9]{12}|^\s*\[?\.\.\.|\(repeated \d+ times\)|omitted|^\s*\[\d+\]\s*\{"
)
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HASH = re.compile(r"hash=([a-f0-9]{24})")


@cache
def _engines() -> Engines:
    return Engines("cpu", None)


def _form(text: str, command: str, *, mode: str = "ccr", only: bool = False) -> Made:
    block = Block(
        "k", text, "tool_result", "user", ToolCall("Bash", command, command), reversible_only=only
    )
    return faithful_form(Job("u", "r", Options(mode), "what", "id", [block]), block, _engines())


def _assert_faithful(text: str, made: Made, kind: str) -> None:
    form = made.form
    if form.text is None:
        assert made.originals == []
        return
    hashes = HASH.findall(form.text.replace(text, ""))
    assert tuple(hashes) == form.shown == form.stored == tuple(o.hash for o in made.originals)
    assert all(o.content == text for o in made.originals)
    assert len(form.text) < len(text)
    if kind == "rows":
        return
    plain = ANSI.sub("", text)
    known = {line.rstrip() for line in plain.split("\n")}
    for line in form.text.split("\n"):
        if line.strip() and not NOTE.search(line):
            assert line.rstrip() in known or line.strip() in plain, line
    if not form.shown:  # nothing may be gone: said whole, under its beginning, or as a row
        read = form.text + "\n" + expanded(form.text) + "\n" + whole_blame(form.text)
        for line in known:
            assert _present(line, read), line


def _present(line: str, text: str) -> bool:
    return line in text or any(
        line[k + 1 :] in text and (line[: k + 1] in text or line[:k] in text)
        for k, c in enumerate(line)
        if c in ":/\\-"
    )


@pytest.mark.parametrize("kind", TEXTS)
def test_generated_output_comes_back_faithful(kind: str) -> None:
    for seed in range(12):
        text = TEXTS[kind](seed)
        _assert_faithful(text, _form(text, COMMANDS[kind]), kind)


@given(st.sampled_from([k for k in TEXTS if k != "rows"]), st.integers(0, 10**6))
@settings(max_examples=120, deadline=None)
def test_mutated_output_comes_back_faithful(kind: str, seed: int) -> None:
    text = mutated(TEXTS[kind](seed % 50), seed)
    _assert_faithful(text, _form(text, COMMANDS[kind]), kind)


@given(st.sampled_from(list(TEXTS)), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_reversible_forms_of_mutations_come_back_or_are_refused(kind: str, seed: int) -> None:
    text = mutated(TEXTS[kind](seed % 50), seed)
    if "[..." in text:
        return  # the chooser refuses texts with notes before any form is made
    for make in (folded_repeats, folded_prefixes):
        form = make(text)
        assert form is None or form.inverse(form.text) == text


def test_statements_say_their_beginning_once() -> None:
    lines = [f"INSERT INTO orders VALUES('{n * 7919}','{n % 5}','paid');" for n in range(30)]
    text = "\n".join(["BEGIN TRANSACTION;", *lines, "COMMIT;"])
    made = choose(text, "table", None).text

    assert made is not None
    assert made.count("INSERT INTO") == 1
    assert len(made) < 0.6 * len(text)


def test_beginning_ends_neither_in_a_name_nor_at_a_place_in_a_file() -> None:
    places = [f"src/depot/rollback.ts({n},23): error TS{n * 7919}: no such part" for n in range(40)]
    names = [f"decisions-of-the-depot-{n:04}.md" for n in range(40)]
    found = [f"src/depot.ts-{n}-    call({n * 7919})" for n in range(40)]
    begun = [
        re.search(r'begins with "(.*?)"', made.text) if made is not None else None
        for made in (folded_prefixes("\n".join(one)) for one in (places, names, found))
    ]

    assert [one and one[1] for one in begun] == ["src/depot/", None, "src/depot.ts-"]


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=5),
    max_leaves=30,
), st.sampled_from([None, 1, 2, 4, "\t"]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_json_comes_back_byte_for_byte(value: object, indent: int | str | None) -> None:
    text = json.dumps([value] * 4, indent=indent)
    form = shortened(text, parsed(text))
    assert form is None or form.inverse(form.text) == text


def test_rows_ending_in_lists_come_back() -> None:
    text = json.dumps([{"a": {}, "b": [5]}, {"a": {"c": 1}, "b": [6]}] * 20)
    form = shortened(text, parsed(text))
    assert form is not None
    assert form.inverse(form.text) == text


def test_json_keeps_equal_keys_and_the_spelling_of_numbers() -> None:
    pairs = ",\n    ".join(f'"set-cookie": "c{n}=1e400"' for n in range(30))
    text = f'{{\n  "headers": {{\n    {pairs}\n  }},\n  "size": 1.50e+03\n}}'
    form = shortened(text, parsed(text))
    assert form is not None
    assert form.inverse(form.text) == text
    assert form.text.count("set-cookie") == 30
    assert "1.50e+03" in form.text


def test_rows_that_end_with_a_short_list_come_back() -> None:
    text = json.dumps([{"first": {"key": n}, "last": [n]} for n in range(9)])
    form = shortened(text, parsed(text))
    assert form is not None
    assert form.inverse(form.text) == text


def test_json_lines_come_back_byte_for_byte() -> None:
    rows = [{"at": n, "note": f"no {n}", "more": [n, {"x": 1e9}]} for n in range(30)]
    rows[7] = {"other": True}  # type: ignore[dict-item]
    for separators in ((",", ":"), (", ", ": ")):
        lines = [json.dumps(row, separators=separators) for row in rows]
        lines[12:12] = ["starting up", "[3]{x}"]
        text = "\n".join([*lines, ""])
        form = shortened_lines(text)
        assert form is not None
        assert len(form.text) < 0.8 * len(text)
        with pytest.raises(ValueError, match="no rows"):  # nobody could tell it from a table's head
            form.inverse(form.text)
        plain = text.replace("[3]{x}\n", "")
        again = shortened_lines(plain)
        assert again is not None
        assert again.inverse(again.text) == plain


def test_search_matches_are_grouped_and_come_back() -> None:
    text = TEXTS["matches"](3)
    form = grouped_matches(text)
    assert form is not None
    assert form.inverse(form.text) == text
    assert len(form.text) < 0.8 * len(text)


def test_log_keeps_its_ends_and_counts_kinds_of_lines() -> None:
    text = one_kind(1)
    made = _form(text, COMMANDS["one_kind"])
    lines = text.split("\n")
    assert made.form.text is not None
    assert made.form.text.startswith("\n".join(lines[:6]))
    assert all(line in made.form.text for line in lines[-6:])
    assert re.search(r"\[\.\.\. all 388 of the omitted lines are like: .*install", made.form.text)
    assert len(made.form.text) < len(text) / 4


def test_errors_and_causes_of_a_log_stay_in_sight() -> None:
    for seed in range(10):
        text = log(seed)
        shown = _form(text, COMMANDS["log"]).form.text or text
        for line in text.split("\n"):
            if " ERROR " in line or line.startswith(("Traceback", "LedgerError")):
                assert line in shown


def test_every_failed_test_and_the_totals_stay_in_sight() -> None:
    text = run_of_tests(6)
    made = _form(text, COMMANDS["test_run"])
    assert made.form.text is not None
    assert made.form.shown
    for line in text.split("\n"):
        if "FAILED" in line or "===" in line:
            assert line in made.form.text


def test_every_changed_line_of_a_diff_stays() -> None:
    text = diff(1)
    made = _form(text, COMMANDS["diff"])
    shown = made.form.text or text
    for line in text.split("\n"):
        if line[:1] in "+-" or line.startswith(("diff", "@@")):
            assert line in shown


@pytest.mark.parametrize("kind", TEXTS)
def test_no_marker_where_it_cannot_be_redeemed(kind: str) -> None:
    text = TEXTS[kind](5)
    for made in (
        _form(text, COMMANDS[kind], only=True),
        _form(text, COMMANDS[kind], mode="marker-free"),
    ):
        assert made.originals == []
        assert made.form.shown == ()
        assert "hash=" not in (made.form.text or "")


def test_the_envelope_is_kept_around_a_shortened_body() -> None:
    head = "Exit code: 3\nWall time: 4.2 seconds\nOutput:\n"
    made = _form(head + one_kind(2), "./load.sh")
    assert made.form.text is not None
    assert made.form.text.startswith(head)
    wrapped = json.dumps({"output": one_kind(2), "metadata": {"exit_code": 3}})
    inside = _form(wrapped, "./load.sh")
    assert inside.form.text is not None
    assert json.loads(inside.form.text)["metadata"] == {"exit_code": 3}
    assert inside.originals[0].content == wrapped


def test_the_same_block_gives_the_same_bytes() -> None:
    for kind, make in TEXTS.items():
        assert _form(make(4), COMMANDS[kind]) == _form(make(4), COMMANDS[kind])


def test_rows_leave_first_and_last_lines_in_sight() -> None:
    sample = commits(random.Random(1), 120)
    form = _form(sample.text, sample.command).form
    assert form.text is not None
    assert "[... rows 1: " in form.text
    lines = [line for line in sample.text.split("\n") if line.strip()]
    for line in (*lines[:2], *lines[-2:]):
        assert line in form.text.split("\n")


@pytest.mark.parametrize(("lines", "shortened"), [(100_000, True), (100_001, False)])
def test_output_with_too_many_lines_stays_whole(lines: int, shortened: bool) -> None:
    text = "retrying\n" * lines + "done"
    assert (choose(text, "log", None).text is not None) is shortened


@pytest.mark.parametrize(
    ("huge", "shortened"),
    [
        ("a<{[ " * 50_000, True),
        ("a<{[ " * 50_001, False),
        ("".join(f"\rfetching {n:5} of 20000" for n in range(1, 20_001)), True),
    ],
)
def test_output_with_a_huge_line_stays_whole(huge: str, shortened: bool) -> None:
    text = "retrying\n" * 80_000 + huge
    assert (choose(text, "log", None).text is not None) is shortened


_CHECKS = [f"+  check {n}: expected {n * 7919 % 1000}, got it" for n in range(120)]


@pytest.mark.parametrize(
    ("kind", "lines", "runs"),
    [
        ("log", _CHECKS, True),
        ("diff", ["--- a/list.txt", "+++ b/list.txt", "@@ -1,2 +1,122 @@", *_CHECKS], False),
        ("log", [f"error: {line}" for line in _CHECKS], False),
        ("log", _CHECKS[:1] * 200, False),  # it is short enough with the line said once
    ],
)
def test_engine_runs_only_if_lines_may_go(kind: Kind, lines: list[str], runs: bool) -> None:
    asked: list[str] = []

    def engine(body: str) -> str:
        asked.append(body)
        return "\n".join(body.split("\n")[:3])

    choose("\n".join(lines), kind, Lossy("log", engine, "0" * 24))
    assert bool(asked) is runs


def test_configuration_that_a_program_printed_loses_colours_and_nothing_else() -> None:
    plain_lines = [f'  + ami_{n} = "{n}"  ' for n in range(40)]
    coloured = "\n".join(line.replace("+", "\x1b[32m+\x1b[0m") for line in plain_lines)
    assert choose(coloured, "config", None, coloured=True).text == "\n".join(plain_lines)
    assert choose(coloured, "config", None).text is None
