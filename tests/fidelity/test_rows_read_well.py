"""Rows of values that a reader cannot misread: whole records, visible values, a real saving."""

from __future__ import annotations

import json
import random
import re

import pytest

from workers.fidelity import line_blocks as blocks
from workers.fidelity.json_form import parsed, shortened
from workers.fidelity.json_rows import rows_of_tables
from workers.fidelity.lines_as_rows import rows_of_records
from workers.fidelity.record_lines import is_record

from .expand import expanded

WORDS = ["anchor", "ledger", "harbour", "quarry", "basin", "meadow", "lantern", "copper"]


def advisories(count: int) -> list[str]:
    """Return paragraphs as ``npm audit`` prints them."""
    rng = random.Random(4)
    lines = []
    for n in range(count):
        name = f"{rng.choice(WORDS)}-{n}"
        lines += [
            f"{name}  <{rng.randrange(9)}.{rng.randrange(20)}.0",
            f"Severity: {rng.choice(['moderate', 'high', 'low'])}",
            f"{rng.choice(['ReDoS', 'Path traversal'])} in {name} - https://example.org/{rng.getrandbits(40)}",
            "fix available via `npm audit fix`",
            f"node_modules/{name}",
            "",
        ]
    return lines


def test_row_of_paragraphs_is_one_paragraph() -> None:
    lines = advisories(30)
    for skipped in range(6):  # wherever the text begins
        text = "\n".join(lines[skipped:])
        above = lines[skipped - 1] if skipped else ""
        made = rows_of_records(text, "log", above)
        assert made is not None
        assert expanded(made.text) == text
        rows = [line for line in made.text.split("\n") if re.match(r"\.\.\.\w+-\d+\|", line)]
        assert len(rows) > 20
        for row in rows:  # the values of one package, and of no other
            name = row[3:].split("|")[0]
            assert set(re.findall(r"[a-z]+-\d+(?=\||$)", row)) == {name}


def test_row_of_indented_lines_begins_at_the_outermost() -> None:
    rng = random.Random(6)
    lines = []
    for n in range(30):
        lines += [
            f"link {n}: mtu {rng.randrange(9000)} state up",
            f"    ether {rng.getrandbits(40):010x} brd ffffffffff",
            f"    inet 10.0.{n}.{rng.randrange(250)} scope global",
        ]
    for skipped in range(3):
        text = "\n".join(lines[skipped:])
        made = rows_of_records(text, "log", lines[skipped - 1] if skipped else "")
        assert made is not None
        assert expanded(made.text) == text
        frames = made.text.split("\n[... rows")[-1].split("\n")
        assert "...link {}: mtu {} state up" in frames
        first = next(at for at, line in enumerate(frames) if line.startswith("...link"))
        assert frames[first - 1].endswith("...]")


def test_empty_value_is_not_parted_by_blanks() -> None:
    rng = random.Random(8)
    lines = [
        f"id={n} name={rng.choice(['', 'ada', 'bo'])} kept in pool={rng.randrange(9)}, closed"
        for n in range(60)
    ]
    made = rows_of_records("\n".join(lines), "log")
    assert made is not None
    assert expanded(made.text) == "\n".join(lines)
    assert 'parted by "|"' in made.text


def test_json_row_with_the_only_empty_value_stays_whole() -> None:
    rng = random.Random(9)
    rows = [
        {"id": n, "name": rng.choice(WORDS), "at": f"2026-05-04T10:{n:02}:00Z", "zone": "north"}
        for n in range(60)
    ]
    rows[40]["name"] = ""
    text = json.dumps(rows)
    form = shortened(text, parsed(text))
    assert form is not None
    made = rows_of_tables(form.text)
    assert made is not None
    assert made.inverse(made.text) == form.text
    assert 'parted by " "' in made.text
    assert '40,"","2026-05-04T10:40:00Z","north"' in made.text.split("\n")


def test_braces_around_a_value_stay_with_it() -> None:
    rng = random.Random(10)
    lines = [
        f"{rng.getrandbits(28):07x} HEAD@{{{n}}}: moving from {rng.choice(WORDS)}-{n} to main"
        for n in range(60)
    ]
    made = rows_of_records("\n".join(lines), "listing")
    assert made is not None
    assert expanded(made.text) == "\n".join(lines)
    assert "{{" not in made.text
    assert "{7}" in made.text


def test_blanks_alone_are_no_saving() -> None:
    rng = random.Random(11)
    text = "\n".join(
        " " * 20 + ":".join(f"{rng.getrandbits(8):02x}" for _ in range(15)) + ":" for _ in range(80)
    )

    assert rows_of_records(text, "other") is None


def test_rows_do_not_stand_alone_among_whole_lines() -> None:
    rng = random.Random(12)
    lines = []
    for n in range(20):
        lines.append(f"/app/src/{rng.choice(WORDS)}_{n}.ts")
        lines += [
            f"  {rng.randrange(400):>4}:{rng.randrange(80):<3} {rng.choice(['error  ', 'warning'])}"
            f"  {rng.choice(['Unexpected any', 'Missing return'])}"
            f"  @typescript-eslint/{rng.choice(['no-explicit-any', 'explicit-return'])}"
            for _ in range(5)
        ]
        lines.append("")
    made = rows_of_records("\n".join(lines), "error")
    shown = made.text.split("\n") if made is not None else []
    rows = [line.startswith("...") for line in shown]
    alone = sum(rows[at - 1 : at + 2] == [False, True, False] for at in range(1, len(rows)))

    assert alone <= 2


def test_cells_between_tabs_stay_apart() -> None:
    rng = random.Random(13)
    lines = [
        f"{rng.choice(WORDS) + str(n):<9}\t{rng.choice(['prod', 'dev']):<9}\t{rng.randrange(40):<8}"
        f"\t2026-05-{n % 28 + 1:02} 10:{n:02}:00.{rng.randrange(10**9):09} +0200 CEST\tdeployed"
        f"\t{rng.choice(WORDS)}-{rng.randrange(9)}.1\t{rng.randrange(9)}.0"
        for n in range(45)
    ]
    made = rows_of_records("\n".join(lines), "table")
    shown = made.text.split("\n") if made is not None else []
    rows = [line for line in shown if line.startswith("...") and "{" not in line]

    assert len({row.count("\t") for row in rows}) <= 1  # else one has another's cell
    assert not any(re.search(r"\t *\||\| *\t", row) for row in rows)


def test_first_cell_of_lines_with_tabs_is_said_once() -> None:
    rng = random.Random(14)
    text = "\n".join(
        f"STACKEVENTS\t{rng.getrandbits(32):08x}\tarn:aws:eu:1:stack/x\t{rng.choice(WORDS)}{n}\tdone"
        for n in range(60)
    )
    made = rows_of_records(text, "table")
    assert made is not None
    assert expanded(made.text) == text
    assert made.text.count("STACKEVENTS") == 1


def test_lines_far_below_are_not_compared_for_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a text whose lines come again far below takes quadratic time."""
    heights: list[int] = []
    monkeypatch.setattr(
        blocks, "comes_again", lambda names, at, height: bool(heights.append(height))
    )
    lines = [f"{WORDS[n % 8]} {WORDS[n // 8 % 8]} {WORDS[n // 64 % 8]} done" for n in range(1500)]
    rows_of_records("\n".join(lines), "log")

    assert all(height <= 16 for height in heights)


def test_closing_signs_go_with_the_opening_ones() -> None:
    rng = random.Random(15)
    text = "\n".join(
        f"{n:>3} |  call(&{rng.choice(WORDS)}_{rng.randrange(900)});" for n in range(50)
    )
    made = rows_of_records(text, "log")
    assert made is not None
    assert expanded(made.text) == text

    assert "call(&{});" in made.text


def test_addresses_stay_whole_in_rows() -> None:
    rng = random.Random(16)
    addresses = [
        f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(1, 255)}" for _ in range(60)
    ]
    text = "\n".join(
        f"{rng.choice(['prod', 'staging', 'kube-system']):<13} {rng.choice(WORDS)}-{n}-a4  1/1  "
        f"   Run   {rng.randrange(3):<16} {rng.randrange(1, 90)}d     {address:<14} node-{n % 9}"
        for n, address in enumerate(addresses)
    )
    made = rows_of_records(text, "log")
    assert made is not None
    assert expanded(made.text) == text

    assert all(f" {address} " in made.text for address in addresses)


def test_row_of_a_search_with_context_is_one_group() -> None:
    rng = random.Random(9)
    lines = []
    for n in range(0, 400, 10):
        at, pid = f"2026-05-04 10:{n // 60 % 60:02d}:{n % 60:02d}", rng.randrange(9999)
        lines += [
            f"{n}:{at} [{pid}] request {rng.getrandbits(30):08x} was slow",
            f"{n + 1}-{at} [{pid}] waited for {rng.randrange(900)} ms",
            f"{n + 2}-{at} [{pid}] query of {rng.choice(WORDS)}",
            "--",
        ]
    for skipped in range(4):  # wherever the rows begin
        text = "\n".join(lines[skipped:])
        made = rows_of_records(text, "search")
        assert made is not None
        assert expanded(made.text) == text
        rows = [row for row in made.text.split("\n") if re.match(r"\.\.\.\d", row)]
        assert len(rows) > 20
        for row in rows:  # lines of one group, and of no other
            assert len(set(re.findall(r"\d\d:\d\d:\d\d", row))) == 1


def test_row_of_a_tree_is_one_folder_with_what_is_in_it() -> None:
    rng = random.Random(8)
    lines = ["."]
    for n in range(40):
        one, other = rng.choice(WORDS), rng.choice(WORDS)
        lines += [f"├── app{n}", f"│   ├── {one}.py", f"│   └── {other}.md"]
    made = rows_of_records("\n".join(lines), "listing")

    assert made is not None
    assert expanded(made.text) == "\n".join(lines)
    frames = made.text.split("\n")
    note = next(at for at, line in enumerate(frames) if " blocks are like " in line)
    assert [line[:12] for line in frames[note + 2 : note + 4]] == ["...│   ├── {", "...│   └── {"]
    assert sum(line.startswith("...├── app") for line in frames[note + 4 :]) >= 15


def test_lines_that_begin_like_rows_are_no_rows() -> None:
    lines = [f"...web-{n} {n * 7919 % 1000} up since 10:00" for n in range(60)]

    assert rows_of_records("\n".join(lines), "other") is None


def test_lines_that_begin_with_many_dots_are_no_rows() -> None:
    lines = [f"{'.' * 72} [ {n:>2}%]" for n in range(4, 99, 4)]

    assert rows_of_records("\n".join(lines), "other") is None


@pytest.mark.parametrize("marks", ["", "    ^^^^^^^^^^^^"])
def test_stack_trace_stays(marks: str) -> None:
    rng = random.Random(17)
    frames = [
        [f'  File "/lib/{rng.choice(WORDS)}.py", line {n}, in step', f"    run({n}, now)", marks]
        for n in range(40)
    ]
    lines = ["Traceback (most recent call last):", *(x for one in frames for x in one if x)]

    assert rows_of_records("\n".join([*lines, "ValueError: no depot"]), "error") is None


def test_lines_that_say_where_they_were_printed_may_be_rows() -> None:
    rng = random.Random(18)
    text = "\n".join(
        f"  console.log\n    [INFO] {rng.choice(WORDS)} opened\n\n      at log (src/log.ts:9:1)\n"
        for _ in range(20)
    )
    made = rows_of_records(text, "test_run")

    assert made is not None
    assert expanded(made.text) == text


def test_lines_of_a_table_are_no_block() -> None:
    lines = [
        "drwxr-xr-x   1 root root  4096 Apr 10 08:40 ..",
        "-rw-r--r--   1 root root   189 Sep 10  2025 .coveragerc",
        "-rw-r--r--  12 root root   381 Sep 10  2025 README.rst",
    ]

    assert not is_record(lines, "total 900")
    assert is_record(["2: eth0: mtu 1500 state up", "    inet 10.0.4.7 scope global eth0"], "")


def test_equal_blocks_are_said_once_without_rows() -> None:
    block = [
        "  console.log",
        "    Starting the depot with all its crates",
        "",
        "    at log:116",
        "",
    ]
    text = "\n".join(["begin", *block * 4, "end"])
    made = rows_of_records(text, "test_run")

    assert made is not None
    assert made.inverse(made.text) == text
    assert expanded(made.text) == text
    assert "4 blocks are like the next 5 lines, all of them are equal" in made.text
    assert sum(line.startswith("...") for line in made.text.split("\n")) == 5


def test_few_rows_of_many_values_are_no_table() -> None:
    rng = random.Random(20)
    flag = ["True", "False"]

    def text(count: int) -> str:
        return "\n".join(
            f"Test {n}: Database {rng.choice(['with', 'without'])} DDL rollback support, "
            f"{rng.choice(['atomic', 'non-atomic'])} migration\n"
            f"  migration.atomic = {rng.choice(flag)}\n"
            f"  connection.features.can_rollback_ddl = {rng.choice(flag)}\n"
            f"  output_transaction = {rng.choice(flag)} AND {rng.choice(flag)}\n"
            f"  connection.features.expected = {rng.choice(WORDS)} for BEGIN/COMMIT\n"
            "  Result: PASS\n"
            for n in range(count)
        )

    assert rows_of_records(text(3), "other") is None
    assert rows_of_records(text(30), "other") is not None


def test_block_that_stands_alone_is_no_row() -> None:
    rng = random.Random(21)
    lines = []
    for n in range(12):
        lines += [f"  ● {rng.choice(WORDS)} › {rng.choice(WORDS)} {n}", ""]
        lines += [f"    TypeError: {rng.choice(WORDS)} is not a {rng.choice(WORDS)}", ""]
        lines += [f"      {n}{i} |     {rng.choice(WORDS)}({rng.choice(WORDS)});" for i in range(5)]
        lines += ["", f"      at Object.<anonymous> (tests/commands/depot.test.ts:{n}03:{n})", ""]

    assert rows_of_records("\n".join(lines), "test_run") is None


def test_source_in_a_json_table_is_not_taken_apart() -> None:
    rows = [
        {
            "path": f"src/harbour/quay{n}.py",
            "link": f"https://example.org/quay/blob/main/{n}",
            "code": f"def quay{n}(ship):\n    return ship.berth + {n}\n",
        }
        for n in range(60)
    ]
    form = shortened(text := json.dumps(rows), parsed(text))
    assert form is not None
    made = rows_of_tables(form.text)

    assert made is not None
    assert all(
        f"def quay{n}(ship):\\n    return ship.berth + {n}\\n" in made.text for n in range(60)
    )
    assert form.inverse(made.inverse(made.text)) == text
