"""Lines of kinds that alternate, as rows with names: exact, and readable from their note alone."""

from __future__ import annotations

import random
import re

import pytest

from loadtest.fidelity.facts import put_in
from workers.fidelity import Lossy, choose
from workers.fidelity.line_kinds import kinds_of
from workers.fidelity.mixed_kinds import alternate, rows_of_kinds
from workers.fidelity.named_rows import lines_of_named_rows

from .expand import expanded
from .texts import TEXTS, mutated

PAIRS = [f"{one}/{other}" for one in ("EUR", "USD", "GBP", "JPY") for other in ("CHF", "SEK")]


def service(seed: int, count: int = 160, *, bad: float = 0.05) -> list[str]:
    """Return the log of an application: lines of four kinds in any order, and failures."""
    rng = random.Random(seed)
    lines = []
    for n in range(count):
        thread = f"[{rng.choice(['scheduling-1', f'http-8080-exec-{rng.randrange(1, 12)}'])}]"
        begin = f"2026-05-04 03:{n // 60:02}:{n % 60:02}.{rng.randrange(1000):03}"
        said = rng.choice(
            [
                f"INFO  1 --- {thread:>24} c.a.ledger.PostingService : Posted batch "
                f"{rng.getrandbits(32):08x} entries={rng.randrange(90)} took={rng.randrange(9)}ms",
                f"DEBUG 1 --- {thread:>24} c.a.ledger.RateCache      : Cache hit for "
                f"{rng.choice(PAIRS)} rate={rng.random():.4f}",
                f"WARN  1 --- {thread:>24} c.z.hikari.Housekeeper    : Thread starvation or clock "
                f"leap detected (delta={rng.randrange(90)}s)",
                f"INFO  1 --- {thread:>24} c.a.ledger.Users          : User {rng.randrange(9999)} "
                f"was not asked for the second factor",
            ]
        )
        if rng.random() < bad:
            said = f"ERROR 1 --- {thread:>24} c.a.ledger.PostingService : Posting failed for {n}"
        lines.append(f"{begin} {said}")
    return lines


def made(lines: list[str]) -> list[str]:
    """Return the lines of the form; check that all ways back restore the text."""
    text = "\n".join(lines)
    form = rows_of_kinds(text, "log", 2, len(lines) - 2)
    assert form is not None
    assert form.inverse(form.text) == text
    assert expanded(form.text) == text
    return form.text.split("\n")


def test_alternating_lines_become_rows_that_name_their_kind() -> None:
    lines = service(1)
    shown = made(lines)

    assert len("\n".join(shown)) < 0.7 * len("\n".join(lines))
    named = [line for line in shown if " = 2026-05-04 " in line]
    assert {line.split(" = ")[0] for line in named} == {"...Posted", "...Cache", "...Thread"}
    for said in ("Posted batch", "Cache hit", "Thread starvation"):  # as they looked
        assert next(line for line in lines[2:] if said in line) in shown
    posted = [line for line in lines[2:] if "Posted" in line][1]
    batch, entries, took = re.search(r"batch (\S+) entries=(\d+) took=(\d+)", posted).groups()  # type: ignore[union-attr]
    assert any(re.fullmatch(rf"\.\.\.Posted .*\b{batch} {entries} {took}", x) for x in shown)


def test_whole_times_and_addresses_stand_in_rows() -> None:
    shown = made(service(2, 50))

    rows = [line for line in shown if line.startswith("...") and " = " not in line]
    assert rows
    assert all(re.search(r" 03:00:\d\d\.\d{3} ", row) for row in rows)


def test_failures_and_denials_stay_whole() -> None:
    lines = service(3)
    shown = set(made(lines))

    assert {line for line in lines if " ERROR " in line or " not " in line} <= shown
    assert set(lines[:2] + lines[-2:]) <= shown


def test_log_of_failures_stays() -> None:
    lines = service(4, bad=0.7)
    assert rows_of_kinds("\n".join(lines), "log", 2, len(lines) - 2) is None


def test_pairs_of_names_share_a_table() -> None:
    shown = made(service(5, 400))
    assert sum("Cache hit" in line for line in shown if line.startswith("...")) == 1


def test_lines_that_look_like_rows_are_left_alone() -> None:
    lines = service(6)
    lines[50] = "...Posted 1 2 3"
    assert rows_of_kinds("\n".join(lines), "log", 2, len(lines) - 2) is None


def test_columns_of_which_some_are_empty_stay() -> None:
    rng = random.Random(10)
    lines = []
    for _ in range(40):
        read, written = 10 ** rng.randrange(6), rng.choice(["", 9_999_999])
        lines.append(f"dev {rng.choice(['nvme0n1', 'dm-0', 'sd'])} {read:>9} {written:>9} requests")
        lines.append(f"cpu {rng.choice([7, 77, 777])} of {rng.randrange(9)} is busy with the same")
    assert rows_of_kinds("\n".join(lines), "other", 2, len(lines) - 2) is None


def test_code_found_by_a_search_stays() -> None:
    lines = [f"src/a{n % 9}.py:{n}:    {'total' if n % 2 else 'count'} = add({n}, {n * 7 % 91})"
             for n in range(90)]  # fmt: skip
    assert rows_of_kinds("\n".join(lines), "search", 2, 88) is None


def test_judge_reads_named_rows() -> None:
    text = "\n".join(service(7))
    form = choose(text, "log", None)
    assert form.text is not None
    assert "[... rows by name: " in form.text
    shown = put_in(form.text)
    bare = [" ".join(line.split()) for line in text.split("\n")]
    assert [" ".join(line.split()) for line in shown.split("\n")] == bare


def test_wrong_rows_have_no_way_back() -> None:
    shown = made(service(8))
    del shown[next(n for n, line in enumerate(shown) if re.match(r"\.\.\.\w+ \d", line))]
    with pytest.raises(ValueError, match="missing"):
        lines_of_named_rows("\n".join(shown))


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("seed", range(6))
def test_damaged_texts_come_back(name: str, seed: int) -> None:
    text = mutated(TEXTS[name](seed), seed)
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    for kind in ("log", "other"):
        form = rows_of_kinds(text, kind, 0, text.count("\n") + 1)  # type: ignore[arg-type]
        assert form is None or form.inverse(form.text) == text
        assert form is None or expanded(form.text) == text


@pytest.mark.parametrize("seed", range(20))
def test_damaged_logs_come_back(seed: int) -> None:
    text = mutated("\n".join(service(seed, 90)), seed)
    form = rows_of_kinds(text, "log", 0, text.count("\n") + 1)
    assert form is None or form.inverse(form.text) == text
    assert form is None or expanded(form.text) == text


def test_test_runs_have_names_where_nothing_is_left_out() -> None:
    rng = random.Random(4)
    lossy = Lossy("log", lambda _: None, "0" * 24)
    names = [f"test_total_{n} (tests.shop.ShopTest.test_total_{n}) ... ok" for n in range(160)]
    told = [f"Rule {n} takes its rate off and rounds {n % 3 + 1} times" for n in range(160)]
    passed = [f"tests/test_{n}.py::test_adds_{n} PASSED [{n}%]" for n in range(160)]
    ran = ["", "Ran 160 tests in 0.004s", "", "OK"]
    mixed = "\n".join([*(rng.choice(pair) for pair in zip(names, told, strict=True)), *ran])
    for given in (None, lossy):
        assert "rows by name" in str(choose(mixed, "test_run", given).text)
    crates = [f"test shop::total::adds_{n} ... ok" for n in range(160)]
    both = "\n".join([*(rng.choice(pair) for pair in zip(crates, passed, strict=True)), *ran])
    assert "rows by name" in str(choose(both, "test_run", None).text)
    assert "omitted in all" in str(choose(both, "test_run", lossy).text)


def test_stack_traces_stay_whole_among_rows_by_name() -> None:
    lines = service(6)
    trace = [f"    at c.a.ledger.Posting.apply{n % 4}(Posting.java:{n})" for n in range(24)]
    shown = made([*lines[:80], *trace, *lines[80:]])
    assert [line for line in shown if line in trace] == trace


def test_lines_in_any_order_alternate_but_blocks_do_not() -> None:
    mixed = service(3)
    assert alternate(kinds_of(mixed))
    assert not alternate(kinds_of(sorted(mixed, key=lambda line: line.split()[2])))
    blocks = [line for n in range(40) for line in (f"GET /{n}", f"took {n} ms", f"200, {n} bytes")]
    assert not alternate(kinds_of(blocks))


def test_other_rows_are_not_searched_where_names_save_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(text: str, kind: str) -> None:
        raise AssertionError("searched for rows without names")

    monkeypatch.setattr("workers.fidelity.choose_form._rows_between_ends", never)
    text = "\n".join(service(4))
    chosen = choose(text, "log", None)
    assert "rows by name" in (chosen.text or "")
    assert choose(text, "log", None, frozenset({"farm_repeats"})).text == chosen.text
