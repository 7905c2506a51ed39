"""Similar lines and blocks as rows: exactly reversible, and readable from their notes alone."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.fidelity.tables import prometheus
from shared.content import Kind
from workers.fidelity import line_blocks as blocks
from workers.fidelity import lines_as_rows, row_table, table_of_blocks
from workers.fidelity.choose_form import choose
from workers.fidelity.git_blame import shortened_blame
from workers.fidelity.json_cut import shortened_cut
from workers.fidelity.json_form import parsed, shortened
from workers.fidelity.json_rows import rows_of_tables
from workers.fidelity.lines_as_rows import rows_of_records
from workers.fidelity.token_alignment import (
    Budget,
    Literals,
    common,
    fitting,
    literals,
    matched,
    tokens,
)
from workers.fidelity.verify_form import check

from .expand import expanded
from .texts import TEXTS, mutated

WORDS = ("anchor", "ledger", "harbour", "web-3", "10.0.0.7", "a|b", "x=1", "", "naïve", "{}", "…")


def requests(count: int, level: str = "INFO", seed: int = 1) -> list[str]:
    """Return lines of a service's log."""
    rng = random.Random(seed)
    return [
        f"2026-05-04T00:{n // 60:02}:{n % 60:02}.{rng.randrange(1000):03}Z {level} "
        f"svc-{rng.randrange(9)} req={rng.getrandbits(32):08x} "
        f"path=/v1/orders/{rng.randrange(500)} took={rng.randrange(900)}ms"
        for n in range(count)
    ]


def made(text: str, kind: Kind = "log") -> str:
    """Return ``text`` as rows, or unchanged; check that both inverses restore it."""
    form = rows_of_records(text, kind)
    if form is None:
        return text
    assert form.inverse(form.text) == text
    assert expanded(form.text) == text
    assert len(form.text) < len(text)
    return form.text


def test_log_lines_become_rows_of_their_values() -> None:
    lines = requests(60)
    shown = made("\n".join(lines))

    assert len(shown) < 0.65 * len("\n".join(lines))
    assert "...2026-05-04T{}Z INFO svc-{} req={} path=/v1/orders/{} took={}" in shown
    time, _, service, *_ = lines[7].removeprefix("2026-05-04T").split()
    assert f"...{time[:-1]} {service[-1]} " in shown


def test_error_among_other_lines_stays_whole() -> None:
    lines = requests(60)
    lines[20] = requests(1, "ERROR")[0]
    shown = made("\n".join(lines)).split("\n")

    assert lines[20] in shown
    assert sum(line.startswith("[... rows ") for line in shown) == 1
    assert "whole ...]" in shown[0]


def test_words_that_all_lines_have_are_said_once() -> None:
    rng = random.Random(8)
    lines = [
        f"12:00:{n:02} INFO request {rng.getrandbits(32):08x} took {rng.randrange(900)} ms in"
        f" (pool {rng.randrange(9)}), by [w{rng.randrange(9)}]"
        for n in range(50)
    ]
    shown = made("\n".join(lines))

    assert "request {} took {} ms in (pool {}), by [{}]\n" in shown
    assert shown.count("took") == 1


def test_reports_of_failures_keep_their_words_together() -> None:
    text = "\n".join(
        f"======\nFAIL: test_total_{n} (test_shop.ShopTest.test_total_{n})\n------\n"
        f'Traceback (most recent call last):\n  File "/srv/test_shop.py", line {n * 7}, in run\n'
        f"    self.assertEqual(shop.total({n}), {n * 11})\nAssertionError: {n * 10} != {n * 11}\n"
        for n in range(3, 20)
    )
    shown = made(text, "test_run")

    assert len(shown) < 0.5 * len(text)
    for n in range(3, 20):
        assert f"test_total_{n} (test_shop.ShopTest.test_total_{n})" in shown
        assert f"{n * 10} != {n * 11}" in shown


def test_blocks_with_many_words_in_their_values_stay() -> None:
    text = prometheus(random.Random(0), 900).text

    assert "blocks are like" not in made(text, "table")


def test_sentences_are_not_taken_apart() -> None:
    rng = random.Random(5)
    text = "\n".join(
        f"{rng.getrandbits(28):07x} The {rng.choice(WORDS[:3])} is read once; "
        f"the {rng.choice(WORDS[:3])} said {n} where it was {n + 1}"
        for n in range(60)
    )

    assert made(text, "listing") == text


def test_code_that_a_search_found_stays() -> None:
    text = "\n".join(f"src/a_{n}.py:{n}:    path('<int:a_{n}>/', view_{n})" for n in range(80))

    assert made(text, "search") == text


def test_log_that_a_search_found_becomes_rows() -> None:
    text = "\n".join(f"{n}:{line}" for n, line in enumerate(requests(50, "ERROR")))

    assert len(made(text, "search")) < 0.65 * len(text)


@pytest.mark.parametrize("prefix", ["", "api.log:", "var/log/app.log.1:"])
def test_matches_without_line_numbers_become_rows(prefix: str) -> None:
    rng = random.Random(6)
    lines = [
        f"{prefix}10.2.{rng.randrange(9)}.{n} - - [24/Nov/2026:03:{n:02}:07 +0000] "
        f'"GET /api/orders/{rng.randrange(9000)} HTTP/1.1" {rng.choice([502, 504])} {n * 7} '
        f'"-" "kube-probe/1.31" rt={rng.randrange(900) / 100}'
        for n in range(50)
    ]

    assert len(made("\n".join(lines), "search")) < 0.6 * len("\n".join(lines))


def test_columns_lose_their_padding_and_get_it_back() -> None:
    rng = random.Random(3)
    text = "\n".join(
        f"-rw-r--r--  1 deploy deploy {rng.randrange(10 ** rng.randrange(2, 9)):>12} "
        f"Nov {rng.randrange(1, 28):>2} 10:0{rng.randrange(9)} file-{n}.tar.gz"
        for n in range(60)
    )
    shown = made(text, "listing")

    assert "{>" in shown
    assert len(shown) < 0.7 * len(text)


def test_every_line_of_a_form_says_what_it_is() -> None:
    lines = [*requests(40), "", "Done.", *requests(30, "WARN", 2)]
    for line in made("\n".join(lines)).split("\n"):
        assert line in lines or line.startswith(("...", "[... "))


@pytest.mark.parametrize("kind", [k for k in TEXTS if k != "rows"])
def test_generated_output_comes_back_from_rows(kind: str) -> None:
    for seed in range(6):
        text = TEXTS[kind](seed)
        made(text, "log")
        made(mutated(text, seed), "test_run")


def _record(draw: st.DrawFn) -> list[str]:
    width = draw(st.integers(1, 3))
    frames = [
        draw(st.lists(st.sampled_from([*WORDS, "id=", "[x] ", "  "]), max_size=5))
        for _ in range(width)
    ]
    rows = []
    for _ in range(draw(st.integers(2, 12))):
        rows += ["".join(f"{p}{draw(st.sampled_from(WORDS))}" for p in frame) for frame in frames]
    return rows


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_lines_come_back_from_rows(data: st.DataObject) -> None:
    lines: list[str] = []
    for _ in range(data.draw(st.integers(1, 3))):
        lines += _record(data.draw)
        lines += data.draw(
            st.lists(st.sampled_from(["", "... 1", "{=1}", "{>4}", "…"]), max_size=2)
        )
    made("\n".join(lines), data.draw(st.sampled_from(["log", "test_run", "table", "search"])))


@given(
    st.lists(st.sampled_from(["a", "12", " ", "=", "no", "[", "T00:00", "é"]), max_size=9),
    st.lists(st.sampled_from(["a", "12", " ", "=", "no", "[", "T00:00", "é"]), max_size=9),
)
@settings(max_examples=200, deadline=None)
def test_both_lines_have_their_common_literals(one: list[str], other: list[str]) -> None:
    first, second = "".join(one), "".join(other)
    found = common(list(tokens(first)), tokens(second), Budget())

    assert found is not None
    parts = literals(found)
    assert matched(parts, first) is not None
    assert matched(parts, second) is not None


def test_hostile_lines_are_left_within_the_budget() -> None:
    rng = random.Random(0)
    odd = [" ".join(rng.choice("ab=[") for _ in range(200)) for _ in range(400)]
    budget = Budget(1000)

    assert common(list(tokens(odd[0])), tokens(odd[1]), budget) is None
    made("\n".join(odd), "log")


def test_work_on_a_text_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(*arguments: Any) -> list[str] | None:
        nonlocal compared
        compared += 1
        return matched(*arguments)

    def all_counted(
        parts: Literals, lines: Sequence[str], places: Sequence[int], widths: Sequence[int] = ()
    ) -> tuple[list[int], list[list[str]]]:
        nonlocal compared
        compared += len(places)
        return fitting(parts, lines, places, widths)

    monkeypatch.setattr(lines_as_rows, "matched", counted)
    monkeypatch.setattr(blocks, "matched", counted)
    monkeypatch.setattr(blocks, "fitting", all_counted)
    monkeypatch.setattr(row_table, "fitting", all_counted)
    monkeypatch.setattr(table_of_blocks, "fitting", all_counted)
    rng = random.Random(2)
    text = "\n".join(
        f"{rng.choice('abcdef')}{rng.choice('abcdef')} id={n} {rng.choice('xy')}"
        for n in range(9000)
    )
    made(text)
    made("x" * 300_000 + "\n" + "a" * 500_000)

    assert compared < 60_000


def test_json_rows_hold_objects_within_objects() -> None:
    orders = [
        {
            "id": n,
            "lines": [{"sku": f"S{n}", "qty": k} for k in range(n % 4)],
            "to": {"city": "Graz"},
        }
        for n in range(30)
    ]
    text = json.dumps(orders, indent=2)
    form = shortened(text, parsed(text))

    assert form is not None
    assert '[30]{"id","lines":[{"sku","qty"}],"to":{"city"}}' in form.text
    assert form.inverse(form.text) == text


@given(st.integers(0, 2000), st.sampled_from([None, 2, "\t"]), st.sampled_from(["list", "object"]))
@settings(max_examples=150, deadline=None)
def test_cut_json_comes_back_to_the_last_character(
    end: int, indent: int | str | None, outer: str
) -> None:
    rows = [{"id": n, "tags": ["a", n], "at": {"x": n / 4, "y": None}} for n in range(12)]
    whole = json.dumps(rows if outer == "list" else {"count": 12, "items": rows}, indent=indent)
    text = whole[: len(whole) - end % len(whole)]
    form = shortened_cut(text)
    if form is not None:
        assert form.inverse(form.text) == text
        assert len(form.text) < len(text)


def test_cut_json_is_a_table_and_its_rest() -> None:
    rows = [{"id": n, "name": f"web-{n}", "phase": "Running"} for n in range(40)]
    text = json.dumps(rows)[:-30] + "\nBrokenPipeError: [Errno 32] Broken pipe"
    form = shortened_cut(text)

    assert form is not None
    assert form.text.split("\n")[1:3] == ['[39]{"id","name","phase"}', '0,"web-0","Running"']
    assert form.text.endswith("\nBrokenPipeError: [Errno 32] Broken pipe")
    assert form.inverse(form.text) == text


def test_rows_of_json_say_only_what_differs() -> None:
    pods = [
        {"name": f"web-{n}", "phase": "Running", "pod": f"pod-{n}", "since": f"2026-04-{n:02}"}
        for n in range(40)
    ]
    pods[7]["phase"] = "CrashLoopBackOff"
    table = shortened(json.dumps(pods), parsed(json.dumps(pods)))
    assert table is not None
    form = rows_of_tables(table.text)

    assert form is not None
    assert form.inverse(form.text) == expanded(form.text) == table.text
    shown = form.text.split("\n")
    assert '..."web-{}","Running","pod-{=1}","{}"' in shown
    assert "...12 2026-04-12" in shown
    assert '"web-7","CrashLoopBackOff","pod-7","2026-04-07"' in shown


def test_addresses_and_versions_of_json_stay_whole() -> None:
    pods = [
        {
            "ip": f"10.1.{n % 7}.{n}",
            "version": f"1.{n}.{n % 9}",
            "range": f"<2.{n}.3",
            "at": f"{n}.000Z",
        }
        for n in range(40)
    ]
    table = shortened(json.dumps(pods), parsed(json.dumps(pods)))
    form = rows_of_tables(table.text) if table is not None else None
    assert form is not None
    assert "...10.1.5.12 1.12.3 2.12.3 12" in form.text.split("\n")


@given(
    st.lists(
        st.lists(
            st.one_of(st.integers(), st.none(), st.sampled_from([*WORDS, 'a"b', "x-1", "x-22"])),
            min_size=2,
            max_size=4,
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_rows_of_json_come_back(rows: list[list[Any]]) -> None:
    text = "\n".join(json.dumps(row, separators=(",", ":"))[1:-1] for row in rows * 3)
    form = rows_of_tables(text)
    if form is not None:
        assert form.inverse(form.text) == text
        assert len(form.text) < len(text)


def test_outlier_of_a_table_stays_whole() -> None:
    lines = [
        f"web{n:<6} {n + 200:>6}  0.{n % 9}   900{n % 9} ?  Ss  08:{n % 60:02}  /usr/sbin/httpd {n}"
        for n in range(80)
    ]
    lines[33] = "runaway   66666 398.7 999999 ?  R   08:00  /opt/quarry"

    assert lines[33] in made("\n".join(lines), "table").split("\n")


def test_rows_go_on_behind_whole_lines_that_look_like_rows() -> None:
    lines = requests(60)
    lines[20], lines[40] = "...", "...00:00:20.137 1 414c343c 60 507"
    made("\n".join(lines))
    lines[20:20] = ["odd"] * 30
    made("\n".join(lines))


def test_blame_says_each_commit_once() -> None:
    commits = ("^5a28c850", "0123abcd")
    lines = [
        f"{commits[n // 4 % 2]} (Ada ({n // 4 % 2}) 2026-11-24 01:4{n // 4 % 2}:00 +0000 {n:>3})"
        + (f" x = {n}" if n % 3 else "")
        for n in range(1, 60)
    ]
    text = "\n".join(lines)
    form = shortened_blame(text)

    assert form is not None
    assert form.inverse(form.text) == text
    assert form.text.count("Ada") == 4  # two commits, and the last two lines are whole
    assert "\n   2) x = 2\n" in form.text
    assert "\n...^5a28c850   8) x = 8\n" in form.text


@given(st.lists(st.sampled_from([
    "0123abcd (A 2026-11-24 01:45:00 +0000 1) x", "0123abcd (A 2026-11-24 01:45:00 +0000 2)",
    "4567abcd f.py (B 2026-11-24 01:45:00 +0000 3) 4) y", " 5) z", "...0123abcd 6) x", "",
]), min_size=1, max_size=12))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_blame_comes_back_or_is_refused(lines: list[str]) -> None:
    text = "\n".join(lines)
    form = shortened_blame(text)
    if form is not None and check(text, form.text, inverse=form.inverse).passes:
        assert form.inverse(form.text) == text
    elif form is not None:
        assert any(line.startswith((" ", "...")) for line in lines)


def test_short_listing_of_files_becomes_rows_of_its_columns() -> None:
    rng = random.Random(4)
    lines = [
        f"{rng.choice(['drwxr-xr-x', '-rw-r--r--'])} {rng.randrange(1, 13):>2} root root "
        f"{rng.randrange(10, 99_999):>6} Nov 25 12:46 name{n}.py"
        for n in range(24)
    ]
    shown = made("\n".join(lines), "listing")

    assert "...{} {>2} root root  {>5} Nov 25 12:46 {}" in shown
    mode, links, _, _, size, *_ = lines[9].split()
    assert f"...{mode} {links} {size} name9.py" in shown.split("\n")


def test_long_lines_are_aligned_by_their_keys() -> None:
    rng = random.Random(5)
    lines = []
    for _ in range(40):
        told = [f"'quay_{n}': '{rng.choice('ab') if n % 7 == 0 else 'b'} {n}'" for n in range(22)]
        lines.append(
            f"{{'id': [{rng.randrange(999)}], {', '.join(told)}, 'end': {rng.random()}, 'x': 3}}"
        )
    assert len(made("\n".join(lines), "other")) < 0.5 * len("\n".join(lines))


def test_empty_braces_of_lines_are_values() -> None:
    rng = random.Random(6)
    lines = [
        f"task id={rng.getrandbits(60):015x} kwargs={{}} more={{}}, worker={rng.randrange(9)}"
        for _ in range(40)
    ]
    assert len(made("\n".join(lines), "other")) < 0.7 * len("\n".join(lines))


def test_errors_that_say_the_same_say_it_once() -> None:
    rng = random.Random(7)
    said = "error TS2531: Object is possibly 'undefined'."
    lines = [f"src/quay_{rng.randrange(9)}.ts({rng.randrange(400)},{n}): {said}" for n in range(40)]
    assert made("\n".join(lines), "error").count("is possibly") < 4


def test_json_of_a_layout_of_its_own_becomes_rows() -> None:
    text = ",\n".join(
        f'{{\n  "directory": "/b",\n  "command": "c++ -O2 -o f{n}.o -c /w/f{n}.cpp",\n'
        f'  "file": "f{n}.cpp"\n}}'
        for n in range(40)
    )
    found = choose(f"[\n{text}\n]", "json", None)
    assert found.text is not None
    assert len(found.text) < 0.4 * len(text)
