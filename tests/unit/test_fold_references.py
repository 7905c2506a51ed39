"""Folding: exact inverse, references only to visible text, and unambiguous wording."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.pipeline.fold.line_index import FoldIndex
from api.pipeline.fold.line_numbers import split_numbers
from api.pipeline.fold.reference_wording import describe
from api.pipeline.fold.references import Folded, Source, head_lines, input_texts, unfold

WORDS = [
    "self",
    "return",
    "value",
    "Straße",
    "索引",
    "\udcff",
    "a\tb",
    "\x1b[0m",
    "{'k': 1}",
    "\x85",
]
COMMON = ["", "}", "---", "=" * 70, "    return None", "  ", "\t", "12\tcount", "7→"]
LOOKALIKES = [
    "[lines 1-9 of this output (9 lines) are identical to lines 1-9 of the output of CALL c1",
    "[this entire output (3 lines) is identical to the entire output of CALL c0; omitted here]",
    "<<ccr:0123456789abcdef>>",
]
STYLES = {
    "plain": lambda n, line: line,
    "read": lambda n, line: f"{n}\t{line}",
    "arrow": lambda n, line: f"{n:>6}→{line}",
    "cat -n": lambda n, line: f"{n:>6}\t{line}",
}


def a_line(r: random.Random) -> str:
    kind = r.random()
    if kind < 0.2:
        return r.choice(COMMON)
    if kind < 0.24:
        return r.choice(LOOKALIKES)
    return " " * r.choice([0, 4, 8]) + " ".join(r.choice(WORDS) for _ in range(r.randrange(2, 12)))


def edited(r: random.Random, lines: list[str]) -> list[str]:
    lines = list(lines)
    for _ in range(r.randrange(4)):
        if r.random() < 0.2:
            lines = [r.choice([line, line, f"{r.randrange(1, 3)}\t{line}"]) for line in lines]
        at = r.randrange(len(lines) + 1)
        lines[at : at + r.choice([0, 1, 3])] = [a_line(r) for _ in range(r.choice([0, 1, 2]))]
    return lines or ["x"]


def behind(r: random.Random, lines: list[str]) -> str:
    """A file's lines behind what blame, a diff or a search says of them."""
    kind = r.choice(["blame", "diff", "grep", "rows"])
    sign = r.choice("+ +-")
    if kind == "diff":
        marked = [f"{r.choice([sign, sign, '-'])}{line}" for line in lines]
        return "\n".join(["diff --git a/f b/f", "--- a/f", "+++ b/f", "@@ -1,2 +1,9 @@", *marked])
    if kind == "grep":
        path = r.choice(["", "src/f.py:"])
        return "\n".join(f"{path}{i}{r.choice(':-')}{line}" for i, line in enumerate(lines, 1))
    who = "0123abcd (A B 2026-11-24 01:45:47 +0000"
    if kind == "blame":
        return "\n".join(f"{who} {i:>3}) {line}" for i, line in enumerate(lines, 1))
    short = [
        f"{r.choice(['', '', '...0123abcd'])} {i:>3}) {line}" for i, line in enumerate(lines, 1)
    ]
    return "\n".join(["[... git blame: ... omitted below ...]", f"{who}   0) x", *short])


def view(r: random.Random, lines: list[str]) -> str:
    """Return a range of a file as a tool prints it."""
    if r.random() < 0.15:
        return behind(r, lines)
    first = r.choice([0, 0, r.randrange(len(lines))])
    last = r.choice([len(lines), r.randrange(first, len(lines)) + 1])
    number = STYLES[r.choice(list(STYLES))]
    shift = r.choice([1, 1, 96, 99_990])
    if r.random() < 0.15:
        # Numbers out of order, and a first line without a number: not a real numbering.
        shown = [lines[0], *(number(r.choice([i, i, 7]), x) for i, x in enumerate(lines[1:], 1))]
    else:
        shown = [number(i + shift, line) for i, line in enumerate(lines)]
    shown = shown[first:last]
    if r.random() < 0.1:
        shown = [f"    {line}" for line in shown]
    text = r.choice(["\n", "\n", "\n", "\r\n"]).join(shown) + r.choice(["", "\n", "\r\n", "\n\n"])
    if r.random() < 0.3:
        head = f"Chunk ID: {r.getrandbits(24):06x}\nWall time: 0.1 seconds\nOutput:\n"
        text = head + text
    return text


def conversation(seed: int) -> Iterator[tuple[Source, str, bool]]:
    """Yield sources in order, as (source, text, whether it is a tool result)."""
    r = random.Random(seed)
    files = [[a_line(r) for _ in range(r.choice([1, 5, 40, 120]))] for _ in range(2)]
    for i in range(r.randrange(2, 12)):
        at = r.randrange(len(files))
        files[at] = r.choice([files[at], files[at], edited(r, files[at])])
        call = f"c{i}"
        if r.random() < 0.2:
            yield Source(call, "Write: f", "input:content"), "\n".join(files[at]), False
        yield Source(call, "Bash: cat f"), view(r, r.choice(files)), True


def literal(shown: str | Folded) -> dict[int, str]:
    """Return the visible lines of a source, by their numbers in the original."""
    if isinstance(shown, str):
        return dict(enumerate(shown.split("\n"), 1))
    omitted = {reference.line: reference for reference in shown.references}
    seen, number = {}, 1
    for i, line in enumerate(shown.text.split("\n")):
        if i in omitted:
            assert omitted[i].first == number
            number += omitted[i].count
        else:
            seen[number] = line
            number += 1
    return seen


@settings(max_examples=400, deadline=None)
@given(st.integers(min_value=0), st.sampled_from([1, 40, 160]))
def test_unfolds_every_conversation_exactly(seed: int, least: int) -> None:
    index = FoldIndex(least_saved=least)
    texts: dict[Source, str] = {}
    visible: dict[Source, dict[int, str]] = {}
    for source, text, result in conversation(seed):
        folded = index.fold(text, source.call) if result else None
        texts[source] = text
        if folded is not None:
            assert unfold(folded, texts) == text
            assert len(text) - len(folded.text) == folded.saved
            assert folded.saved >= least * len(folded.references)
            assert folded.references
            for reference in folded.references:
                assert reference.source in visible
                seen = visible[reference.source]
                first = reference.source_first
                for number in range(first, first + reference.count):
                    assert "<<ccr:" not in seen[number]
                    assert "omitted here]" not in seen[number]
        visible[source] = literal(folded or text)
        index.add(source, folded or text)


def test_generated_conversations_fold_in_every_way() -> None:
    kinds: set[tuple[bool, bool]] = set()
    for seed in range(300):
        index = FoldIndex(least_saved=1)
        for source, text, result in conversation(seed):
            folded = index.fold(text, source.call) if result else None
            for reference in folded.references if folded else ():
                kinds.add((reference.strip is not None, reference.numbering is not None))
            index.add(source, folded or text)
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=0))
def test_rolled_back_index_equals_a_fresh_one(seed: int, other: int) -> None:
    fresh, index = FoldIndex(least_saved=1), FoldIndex(least_saved=1)
    for source, text, _ in conversation(seed):
        fresh.add(source, text)
        index.add(source, text)
    mark = index.mark()
    for source, text, _ in conversation(other):
        index.add(source, index.fold(text) or text)
    assert index.rollback(mark)
    assert (index.lines, index.chars) == (fresh.lines, fresh.chars)
    assert (index._keys, index._places) == (fresh._keys, fresh._places)
    for source, text, _ in [*conversation(seed), *conversation(other)]:
        assert index.fold(text) == fresh.fold(text)
        fresh.add(source, text)
        index.add(source, text)


numbered_line = st.builds(
    str.__add__,
    st.from_regex(r" {0,6}[0-9]{0,7}[\t→]?", fullmatch=True),
    st.text(alphabet="ab\t→ 1", max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(numbered_line, max_size=12))
def test_numbers_printed_again_give_the_lines(lines: list[str]) -> None:
    contents, numbers, numbering = split_numbers(lines, "\n".join(lines))
    assert len(contents) == len(numbers) == len(lines)
    for line, content, number in zip(lines, contents, numbers, strict=True):
        assert line == (numbering.print(number) + content if numbering and number else content)


FILE = [f"    line {i} of the module, which does {i * i} things" for i in range(1, 41)]


def refs(folded: Folded | None) -> list[str]:
    assert folded is not None
    lines = folded.text.split("\n")
    return [lines[reference.line] for reference in folded.references]


def indexed(text: str, **sources: str) -> FoldIndex:
    index = FoldIndex()
    index.add(Source("toolu_1", "Bash: cat f.py"), text)
    for kind, more in sources.items():
        index.add(Source("toolu_2", "Write: f.py", f"input:{kind}"), more)
    return index


def test_file_is_referred_to_behind_what_blame_says() -> None:
    who = "0123abcd (Ada (B) 2026-11-24 01:45:47 +0000"
    lines = [f"{who} {i:>2}) {line}".rstrip() for i, line in enumerate(["", *FILE], 1)]
    folded = indexed("\n".join(lines)).fold("\n".join(["", *FILE]) + "\n")
    assert folded is not None
    assert "[this entire output (41 lines) is identical to the entire output" in folded.text
    assert "there with line numbers 1-41, here without" in folded.text


def test_new_file_is_referred_to_in_its_diff() -> None:
    head = ["commit 0123", "", "diff --git a/f b/f", "--- /dev/null", "+++ b/f", "@@ -0,0 +1,40 @@"]
    index = indexed("\n".join([*head, *(f"+{line}" for line in FILE)]))
    numbered = "\n".join(f"{i}\t{line}" for i, line in enumerate(FILE, 1))
    assert (
        "there with + or a blank before each line, here with line numbers 1-40"
        in refs(index.fold(numbered))[0]
    )
    assert refs(index.fold("\n".join(FILE)))[0].startswith(
        "[this entire output (40 lines) is ident"
    )


def in_diff(lines: list[str], at: int = 1) -> str:
    """Return a diff that adds ``lines`` to a file, behind two commits' lines."""
    head = ["diff --git a/f b/f", "--- a/f", "+++ b/f", f"@@ -{at},2 +{at},{len(lines) + 2} @@"]
    return "\n".join([*head, " above", *(f"+{line}" for line in lines), " below"])


@pytest.mark.parametrize(
    ("style", "there"),
    [("plain", "there without"), ("read", "there with line numbers 5-44")],
)
def test_added_lines_of_diff_refer_to_file(style: str, there: str) -> None:
    file = "\n".join(STYLES[style](i, line) for i, line in enumerate(FILE, 5))
    folded = indexed(file).fold(in_diff(FILE))
    assert folded is not None
    assert refs(folded)[0].startswith("[lines 6-45 of this output (40 lines) are identical to the")
    assert f", here with + before each line, {there}, from '    line 1 of" in refs(folded)[0]
    assert unfold(folded, {folded.references[0].source: file}) == in_diff(FILE)


def test_added_lines_of_diff_refer_to_input_of_edit() -> None:
    index = indexed("x", new_string="\n".join(["def run():", *FILE]))
    [line] = refs(index.fold(in_diff(FILE)))
    assert 'identical to lines 2-41 of the input "new_string" of CALL toolu_2' in line


@pytest.mark.parametrize("at", [1, 90])
def test_diff_shown_again_is_said_to_be_equal(at: int) -> None:
    [line] = refs(indexed("x\n" + in_diff(FILE)).fold(in_diff(FILE, at)))
    assert "before each line" not in line
    assert "numbered" not in line
    assert "line numbers" not in line


def test_removed_lines_of_diff_refer_to_no_file() -> None:
    removed = in_diff(FILE).replace("\n+", "\n-")
    assert indexed("\n".join(FILE)).fold(removed) is None


def test_removed_lines_of_a_diff_are_none_of_the_file() -> None:
    head = ["diff --git a/f b/f", "--- a/f", "+++ b/f", "@@ -1,40 +1,20 @@"]
    text = "\n".join([*head, *(f"-{line}" for line in FILE)])
    assert indexed(text).fold("\n".join(FILE)) is None


def test_index_drops_a_source_with_its_view() -> None:
    index = FoldIndex(max_lines=100)
    search = "\n".join(f"{i}:{line}" for i, line in enumerate(FILE, 1))
    for number in range(4):
        index.add(Source(f"toolu_{number}", "Bash: grep -n ''"), search)
    assert index.lines == 80
    folded = index.fold("\n".join(FILE))
    assert folded is not None
    assert folded.references[0].source.call == "toolu_3"
    assert unfold(folded, {folded.references[0].source: search}) == "\n".join(FILE)


def test_reference_names_both_ranges_and_quotes_edges() -> None:
    text = "\n".join(["before", *FILE[9:30], "after"])
    assert refs(indexed("\n".join(FILE) + "\n").fold(text)) == [
        "[lines 2-22 of this output (21 lines) are identical to lines 10-30 of the output of CALL "
        "toolu_1 as shown above (Bash: cat f.py), from '    line 10 of the module, which does 100 "
        "things' "
        "to '    line 30 of the module, which does 900 things'; omitted here]"
    ]


def test_reference_names_entire_output() -> None:
    text = "\n".join(FILE) + "\n"
    [line] = refs(indexed(text).fold(text))
    assert line.startswith(
        "[this entire output (40 lines) is identical to the entire output of CALL toolu_1 as "
        "shown above"
    )


def test_does_not_quote_rules_or_blank_lines() -> None:
    text = "\n".join([f"{'=' * 70} FAILURES", "=" * 70, "", *FILE, "", "-" * 70])
    [line] = refs(indexed(text).fold(text))
    assert "from '    line 1 of" in line
    assert "to '    line 40 of" in line


@pytest.mark.parametrize("rule", ["_ " * 35, "_" * 70 + " test_a", "-_-" * 20])
def test_does_not_quote_rules_of_underscores(rule: str) -> None:
    text = "\n".join([rule, *FILE, rule])
    [line] = refs(indexed(text).fold(text))
    assert "from '    line 1 of" in line
    assert "to '    line 40 of" in line


def test_keeps_a_harness_head_and_counts_below_it() -> None:
    heads = [f"Chunk ID: {i}\nWall time: 0.0 seconds\nOutput:\n" for i in range(2)]
    body = "\n".join(FILE)
    folded = indexed(heads[0] + body).fold(heads[1] + body)
    assert folded is not None
    assert folded.text.startswith(heads[1])
    assert refs(folded)[0].startswith("[this entire output (40 lines) is identical to the entire")
    folded = indexed(heads[0] + body).fold(heads[1] + "x\n" + body)
    assert refs(folded)[0].startswith("[lines 2-41 of this output (40 lines) are identical to the")


@pytest.mark.parametrize("style", ["read", "arrow", "cat -n"])
def test_reference_states_that_only_source_is_numbered(style: str) -> None:
    numbered = "\n".join(STYLES[style](i, line) for i, line in enumerate(FILE, 11))
    [line] = refs(indexed(numbered).fold("\n".join(FILE)))
    assert "there with line numbers 11-50, here without" in line


def test_reference_states_that_only_output_is_numbered() -> None:
    numbered = "\n".join(f"{i}\t{line}" for i, line in enumerate(FILE, 1))
    [line] = refs(indexed("", content="\n".join(FILE)).fold(numbered))
    assert (
        'identical to the entire input "content" of CALL toolu_2 as shown above (Write: f.py)'
        in line
    )
    assert "here with line numbers 1-40, there without" in line


def test_reference_states_numbers_shifted_by_edit() -> None:
    old = "\n".join(f"{i}\t{line}" for i, line in enumerate(FILE, 1))
    lines = [*FILE[:15], "    new", "    newer", *FILE[15:]]
    text = "\n".join(f"{i}\t{line}" for i, line in enumerate(lines, 1))
    first, second = refs(indexed(old).fold(text))
    assert "numbered 1-15 in both" in first
    assert second.startswith("[lines 18-42 of this output (25 lines) are identical to lines 16-40 ")
    assert "of CALL toolu_1, but numbered 18-42 here and 16-40 there, from" in second


def test_counts_original_lines_of_a_folded_source() -> None:
    index = indexed("\n".join(FILE))
    more = [f"    a line {i} that is only in the second output, twice" for i in range(20)]
    text = "\n".join([*FILE, *more])
    folded = index.fold(text)
    assert folded is not None
    index.add(Source("toolu_3", "Bash: cat g.py"), folded)
    [line] = refs(index.fold("\n".join(more)))
    assert "lines 41-60 of the output of CALL toolu_3" in line


def test_never_refers_to_folded_lines() -> None:
    index = FoldIndex()
    index.add(Source("toolu_1", "Bash: x"), "\n".join(FILE))
    second = index.fold("\n".join(FILE))
    assert second is not None
    index.add(Source("toolu_2", "Bash: y"), second)
    third = index.fold("\n".join(FILE))
    assert third is not None
    assert [r.source.call for r in third.references] == ["toolu_1"]


def test_never_refers_to_marker_lines() -> None:
    marker = "[38 lines compressed to 3. Retrieve more: hash=0123456789abcdef01234567] " * 6
    index = FoldIndex()
    index.add(Source("toolu_1", "Bash: x"), marker)
    assert index.fold(marker) is None


def test_folds_around_a_marker_line() -> None:
    lines = [*FILE[:20], "", "<<ccr:0123456789abcdef>>", "", *FILE[20:]]
    folded = indexed("\n".join(lines)).fold("\n".join(lines))
    assert folded is not None
    assert [(r.first, r.count) for r in folded.references] == [(1, 21), (23, 21)]


def test_folds_over_notes_of_complete_text() -> None:
    like = "40 lines are like the next one, each row is its values"
    note = f"[... rows 1: {like}, nothing is left out ...]"
    lines = [*FILE[:20], note, *FILE[20:]]
    folded = indexed("\n".join(lines)).fold("\n".join(lines))
    assert folded is not None
    assert [(r.first, r.count) for r in folded.references] == [(1, len(lines))]


@pytest.mark.parametrize("what", ["37 lines", "1 line", "9 rows", "120 words"])
def test_never_refers_to_omission_notes(what: str) -> None:
    lines = [*FILE[:20], f"[... {what} omitted ...]", *FILE[20:]]
    folded = indexed("\n".join(lines)).fold("\n".join(lines))
    assert folded is not None
    assert [(r.first, r.count) for r in folded.references] == [(1, 20), (22, len(FILE) - 20)]


def test_keeps_a_head_that_a_source_shows_too() -> None:
    text = "Chunk ID: 1\nWall time: 0.0 seconds\nOutput:\n" + "\n".join(FILE)
    folded = indexed("cat transcript\n" + text).fold(text)
    assert folded is not None
    assert folded.text.startswith("Chunk ID: 1\nWall time: 0.0 seconds\nOutput:\n[this entire")


def test_never_counts_a_sources_head() -> None:
    earlier = "Chunk ID: 1\nWall time: 0.0 seconds\nOutput:\n" + "\n".join(FILE)
    [line] = refs(indexed(earlier).fold("cat transcript\n" + earlier))
    assert line.startswith("[lines 5-44 of this output (40 lines) are identical to the entire")


def test_folds_a_repeated_line_as_one_run() -> None:
    text = "\n".join(["the same line again"] * 500)
    [line] = refs(indexed(f"{text}\nend").fold(text))
    assert "(500 lines) is identical to lines 1-500 of" in line


def test_prefers_the_longest_then_the_nearest() -> None:
    index = FoldIndex()
    index.add(Source("far", "x"), "\n".join(FILE))
    index.add(Source("near", "x"), "\n".join(FILE))
    index.add(Source("short", "x"), "\n".join(FILE[:30]))
    folded = index.fold("\n".join(FILE))
    assert folded is not None
    assert [r.source.call for r in folded.references] == ["near"]


def test_repeated_name_means_its_newest_text() -> None:
    index = FoldIndex()
    index.add(Source("toolu_1", "x"), "\n".join(FILE))
    index.add(Source("toolu_1", "x"), "something else")
    assert index.fold("\n".join(FILE)) is None


def test_folds_only_what_saves_enough() -> None:
    assert indexed("\n".join(FILE)).fold("\n".join(FILE[:6])) is None
    assert indexed("\n".join(FILE)).fold("\n".join(FILE[:12])) is not None


def test_keeps_text_with_different_indentation_or_line_end() -> None:
    index = indexed("\n".join(FILE))
    assert index.fold("\n".join(f"  {line}" for line in FILE)) is None
    assert index.fold("\r\n".join(FILE) + "\r\n") is None


def test_folds_a_single_long_line() -> None:
    text = '[{"name": "web-0", "phase": "Running"}' * 40
    [line] = refs(indexed(text).fold(text + "\n"))
    assert "this entire output (1 line) is identical to the entire output" in line


def test_reference_to_own_input_says_so() -> None:
    index = indexed("", content="\n".join(FILE))
    [line] = refs(index.fold("written:\n" + "\n".join(FILE), own="toolu_2"))
    assert 'to the entire input "content" of this very call, from' in line


def test_never_refers_to_output_of_same_id() -> None:
    index = FoldIndex()
    text = "\n".join(FILE)
    index.add(Source("twice", "Bash: cat a.py"), text)
    assert index.fold(text, own="twice") is None
    assert index.fold(text, own="other") is not None


def test_stays_within_its_bounds() -> None:
    index = FoldIndex(max_lines=100, max_chars=6000)
    for i in range(50):
        index.add(Source(f"c{i}", "x"), "\n".join(f"{i}: {line}" for line in FILE))
        assert index.lines <= 100
        assert index.chars <= 6000
    index.add(Source("big", "x"), "\n".join(f"big: {line}" for line in FILE * 3))
    assert index.fold("\n".join(f"big: {line}" for line in FILE)) is None
    assert index.fold("\n".join(f"1: {line}" for line in FILE)) is None
    assert index.fold("\n".join(f"49: {line}" for line in FILE)) is not None
    assert len(index._places) <= 100


def test_bounded_index_is_a_function_of_its_sources() -> None:
    once, again = FoldIndex(max_lines=300), FoldIndex(max_lines=300)
    for seed in range(40):
        for source, text, _ in conversation(seed):
            once.add(source, text)
            again.add(source, text)
            assert once.fold(text) == again.fold(text)
    assert once._places == again._places


def test_refuses_to_roll_back_over_dropped_sources() -> None:
    index = FoldIndex(max_lines=100)
    index.add(Source("c0", "x"), "\n".join(FILE))
    mark = index.mark()
    for i in range(1, 5):
        index.add(Source(f"c{i}", "x"), "\n".join(FILE))
    assert not index.rollback(mark)
    assert index.fold("\n".join(FILE)) is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda n: ["the same line again"] * n,
        lambda n: ["one line, then", "another line"] * (n // 2),
        lambda n: [f"line {i % 7} of seven" for i in range(n)],
        lambda n: ["" if i % 2 else f"{i}" * 8 for i in range(n)],
        lambda n: [f"{i}\tthe same line again" for i in range(1, n + 1)],
        lambda n: ["x" * 5, *[""] * (n - 1)],
    ],
)
def test_compares_a_bounded_number_of_lines(make: Callable[[int], list[str]]) -> None:
    work = []
    for n in (1000, 4000):
        index = FoldIndex()
        for i in range(12):
            index.add(Source(f"c{i}", "x"), "\n".join([*make(n), f"end {i}"]))
        before = index.compared
        index.fold("\n".join(["a new line here", *make(n), "no end", *make(n // 2)]))
        work.append(index.compared - before)
    assert work[1] <= 16 * 1.5 * 4000
    assert work[1] <= 5 * work[0]


def test_describes_a_call_in_sixty_characters() -> None:
    assert describe("Bash", {"command": "make test\n  x", "description": "d"}) == "Bash: make test…"
    assert describe("shell", {"command": ["ls", "-l"]}) == "shell: ls -l"
    path = describe("Read", {"file_path": "/tmp/" + "deep/" * 20 + "end.py"})
    assert path.startswith("Read: …")
    assert path.endswith("/end.py")
    assert len(path) <= 60
    assert describe("TaskList", {}) == "TaskList"
    assert describe("TaskList", None) == "TaskList"


def test_yields_multiline_texts_of_an_input() -> None:
    edits = {"path": "f", "edits": [{"new_string": "a\nb", "old": "c"}], "content": "d\ne"}
    assert list(input_texts(edits)) == [("edits.0.new_string", "a\nb"), ("content", "d\ne")]
    assert list(input_texts("*** Begin\n+x")) == [("input", "*** Begin\n+x")]


def test_counts_lines_of_a_harness_head() -> None:
    assert head_lines("Chunk ID: 1\nWall time: 0 s\nOriginal token count: 1\nOutput:\nx\n") == 4
    assert head_lines("Output:\nx") == 0
    assert head_lines("Chunk ID: 1\nx\nOutput:\n") == 0


def test_part_of_an_output_is_called_a_part_of_it() -> None:
    text = "\n".join(f"line {n} of the report on quay {n * 7919}" for n in range(40))
    index = FoldIndex()
    index.add(Source("c1", "Bash: report", "output, part 2"), text)
    folded = index.fold(text, "c2")

    assert folded is not None
    assert "the entire output, part 2, of CALL c1 as shown above" in folded.text
