"""Important lines stay visible among hundreds of uninteresting ones."""

from __future__ import annotations

import random
import re
from functools import cache

import pytest

from loadtest.fidelity.facts import Shown
from loadtest.fidelity.sample import clock, hexes, name, word
from shared.content import Kind
from shared.jobs import Block, Job, Options, ToolCall
from workers.block_form import Engines, faithful_form
from workers.fidelity.choose_form import Lossy, choose
from workers.fidelity.headings import with_headings, with_sections
from workers.fidelity.must_see import is_bad, must_see
from workers.fidelity.stack_traces import with_frames

_PICK = random.Random(11)
_USUAL: dict[str, list[str]] = {
    "tail -900 app.log": [
        f"2026-05-04 {clock(n)} INFO {word(_PICK)} {word(_PICK)} unit {n} took={n % 600 + 100}ms"
        for n in range(700)
    ],
    "kubectl get pods": [
        f"web-{hexes(_PICK, 10)}-{hexes(_PICK, 5)}     1/1     Running   0          {n % 40}d"
        for n in range(500)
    ],
    "docker ps -a": [
        f'{hexes(_PICK, 12)}   {word(_PICK)}:1.{n}   "/entry.sh"   {n} days ago   Up {n} days'
        for n in range(400)
    ],
    "systemctl list-units": [
        f"  {word(_PICK)}-{n}.service   loaded active running {word(_PICK)}" for n in range(500)
    ],
    "df -h": [
        f"/dev/mapper/{word(_PICK)}{n}   {n + 9}G  {n % 9}G  {n % 7}G  {n % 80}% /mnt/{n}"
        for n in range(450)
    ],
    "ninja -C build": [
        f"[{n}/900] Building CXX object src/{word(_PICK)}/{name(_PICK)}_{n}.cpp.o"
        for n in range(1, 900)
    ],
    "npx jest": [f"PASS src/{word(_PICK)}/{name(_PICK)}_{n}.test.js (0.{n} s)" for n in range(500)],
    "mvn test": [
        f"[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 0 -- in org.{word(_PICK)}.T{n}Test"
        for n in range(400)
    ],
    "ping -c 600 10.0.0.1": [
        f"64 bytes from 10.0.0.1: icmp_seq={n} ttl=64 time=0.{n % 900} ms" for n in range(600)
    ],
    "tail -n 900 /var/log/nginx/access.log": [
        f'10.0.0.{n % 99} - - [04/May/2026:{clock(n)} +0000] "GET /v1/{word(_PICK)}/{n} HTTP/1.1" '
        f'200 {n * 3} "-" "curl/8.5.0"'
        for n in range(400)
    ],
}
_RARE = {
    "tail -900 app.log": [
        "2026-05-04 08:06:00 INFO anchor basin unit 9 took=93042ms",
        "2026-05-04 08:07:00 NOTICE replica promoted to primary",
    ],
    "kubectl get pods": [
        "web-0123456789-abcde     0/1     Running   0          3d",
        "job-0123456789-abcdf     0/1     ImagePullBackOff   0          3d",
        "job-0123456789-abcd0     2/3     Running   0          3d",
    ],
    "docker ps -a": ['0123456789ab   x:1.9   "/entry.sh"   3 days ago   Exited (137) 2 hours ago'],
    "systemctl list-units": ["● quarry.service   loaded failed failed quarry"],
    "df -h": ["/dev/mapper/full   50G  50G  0G  100% /mnt/full"],
    "ninja -C build": [
        "/srv/src/y.cpp:42:10: fatal error: harbour.h: No such file or directory",
        "compilation terminated.",
    ],
    "npx jest": ["FAIL src/x/y.test.js", "  ● adds › keeps order", "    Expected: 3"],
    "mvn test": ["[ERROR]   YTest.adds:33 expected:<3> but was:<4>"],
    "ping -c 600 10.0.0.1": ["Request timeout for icmp_seq 301"],
    "tail -n 900 /var/log/nginx/access.log": [
        '10.0.0.7 - - [04/May/2026:08:02:00 +0000] "GET /v1/x/7 HTTP/1.1" 503 11 "-" "curl/8.5.0"'
    ],
}


@cache
def _engines() -> Engines:
    return Engines("cpu", None)


def test_ids_of_digits_hide_no_extremes() -> None:
    """Some hexadecimal ids have digits only: they are no measurements."""
    pick = random.Random(12)
    ids = [str(n * 7919 % 10**8).zfill(8) if n % 20 == 0 else hexes(pick, 8) for n in range(600)]
    took = [20 + n * 37 % 800 for n in range(600)]
    took[411], took[222] = 899, 0
    lines = [
        f"2026-05-04T{clock(n)}Z INFO [svc-{n % 9}] request {ids[n]} took {took[n]} ms"
        for n in range(600)
    ]
    kept = must_see(lines, "log")
    assert kept is not None
    assert {411, 222} <= kept
    assert len(kept) < 60


@pytest.mark.parametrize("status", ["404", "503"])
def test_request_that_a_browser_saw_fail_stays(status: str) -> None:
    lines = [f"[GET] https://example.org/chunk{n}.js => [200]" for n in range(400)]
    lines[200::50] = [line.replace("200]", f"{status}]") for line in lines[200::50]]
    kept = must_see(lines, "other")
    assert kept is not None
    assert set(range(200, 400, 50)) <= kept


@pytest.mark.parametrize("command", _USUAL)
def test_rare_lines_stay_in_sight_of_a_shorter_form(command: str) -> None:
    usual, rare = _USUAL[command], _RARE[command]
    middle = len(usual) // 2
    text = "\n".join([*usual[:middle], *rare, *usual[middle:]])
    block = Block("k", text, "tool_result", "user", ToolCall("Bash", command, command))
    job = Job("u", "r", Options(), "what", "id", [block])
    form = faithful_form(job, block, _engines()).form
    assert form.text is not None
    assert len(form.text) < len(text) / 2
    for line in rare:
        assert line in form.text.split("\n")
    shown = Shown(form.text)
    assert shown.says(usual[0])
    assert shown.says(usual[-1])


def test_line_below_an_entry_stays_with_its_head() -> None:
    """A query of several lines says nothing without when it was asked, and whose it was."""
    pick = random.Random(13)
    lines = []
    for n in range(300):
        begin = f"2026-05-04 {clock(n)} UTC [{pick.randrange(9999)}] app@shop"
        if n % 3:
            lines.append(f"{begin} LOG:  checkpoint complete: wrote {pick.randrange(999)} buffers")
        elif n % 60:
            lines += [f"{begin} LOG:  duration: {pick.randrange(9999)} ms  statement: SELECT a.id",
                      f"\tFROM {word(pick)}_{n} a",
                      f"\tWHERE a.owner = '{hexes(pick, 8)}'"]  # fmt: skip
        else:
            lines += [f"{begin} ERROR:  duplicate key value", f"{begin} DETAIL:  Key {n} exists.",
                      f"{begin} STATEMENT:  INSERT INTO {word(pick)}"]  # fmt: skip
    shown = _shown("tail -900 postgres.log", lines)
    assert len("\n".join(shown)) < len("\n".join(lines)) / 2
    for line, above in zip(shown[1:], shown, strict=False):
        if line[:1] == "\t":
            assert lines[lines.index(line) - 1] == above
    assert {line for line in lines if "  Key " in line or "INSERT" in line} <= set(shown)


def test_lines_of_a_build_among_tests_stay_in_sight() -> None:
    pick = random.Random(14)
    lines = ["[INFO] Scanning for projects..."]
    lines += [f"[INFO] Downloading from central: {word(pick)}-{n}.jar" for n in range(60)]
    lines += ["[INFO] Compiling 214 source files with javac [release 17] to target/classes"]
    for n in range(60):
        name = f"org.example.{word(pick)}{n}Test"
        lines.append(f"[INFO] Running {name}")
        lines.append(f"[INFO] Tests run: {n}, Failures: 0, Errors: 0, Skipped: 0 - in {name}")
    lines += ["[INFO] ", "[INFO] Tests run: 1770, Failures: 0, Errors: 0, Skipped: 0"]
    lines += ["[INFO] " + "-" * 60] * 2 + ["[INFO] BUILD SUCCESS", "[INFO] Total time:  48 s"] * 3
    kept = must_see(lines, "test_run")
    assert kept is not None
    assert len(kept) < len(lines) / 2
    assert "Compiling 214 source files" in " ".join(lines[place] for place in kept)


def _shown(command: str, lines: list[str]) -> list[str]:
    block = Block("k", "\n".join(lines), "tool_result", "user", ToolCall("Bash", command, command))
    job = Job("u", "r", Options(), "what", "id", [block])
    text = faithful_form(job, block, _engines()).form.text
    return (text or "").split("\n")


def test_what_is_no_heading_stays_above_passed_tests() -> None:
    passed = [f"        PASS [   0.0{n}s] ferry quay::t{n}" for n in range(9)]
    odd = [
        "(node:44) [DEP0040] DeprecationWarning: `punycode` is old",
        "Using the old resolver",
        "   FLAKY 2/3 [   0.004s] ferry basin::t7",
    ]  # fmt: skip
    lines = [*passed, odd[0], "", *passed, odd[1], "", *passed, odd[2], *passed, *passed]
    seen = must_see(lines, "test_run")

    assert seen is not None
    assert set(odd) <= {lines[place] for place in seen}


@pytest.mark.parametrize(
    "line",
    [
        "ok 61 - quay is open # SKIP no berth", "ok 62 - quay # TODO not yet",
        " ✓ src/quay.test.ts (5 tests | 2 skipped) 25ms", " ✓ opens late (retry x2) 9ms",
    ],
)  # fmt: skip
def test_test_that_did_not_simply_pass_stays(line: str) -> None:
    head = line.split("61")[0].split("62")[0].split("src")[0].split("opens")[0]
    lines = [f"{head}{n} of the quay" for n in range(90)]
    lines[40] = line
    seen = must_see(lines, "test_run")

    assert seen is not None
    assert 40 in seen


def test_heading_goes_and_stays_with_its_tests() -> None:
    passed = [f"      ✓ does {n} (4 ms)" for n in range(5)]
    lines = [
        *(" PASS  src/first.test.ts", "  First", *passed),
        *(" FAIL  src/bad.test.ts", "  Bad", *passed, "      ✕ adds (83 ms)", *passed),
        *(" PASS  src/other.test.ts", "  Outer", "    Inner", *passed, "  Second", *passed),
        *(" PASS  src/loud.test.ts", "  console.log", "    slow start", "  Third", *passed),
        *[""] * 3, *(f"Time: {n} s" for n in range(6)),
    ]  # fmt: skip
    seen = must_see(lines, "test_run")
    assert seen is not None
    shown = [lines[place] for place in sorted(seen) if lines[place].strip()]
    assert shown[:8] == [
        " PASS  src/first.test.ts", "  First", *passed[:4],
        " FAIL  src/bad.test.ts", "  Bad",
    ]  # fmt: skip
    assert shown[8:12] == [
        "      ✕ adds (83 ms)", " PASS  src/loud.test.ts", "  console.log", "    slow start",
    ]  # fmt: skip


def test_omitted_paths_are_counted_by_folder() -> None:
    folders = [f"./src/{name(_PICK)}" for _ in range(9)]
    lines = [f"{folders[n % 9]}/deep/{word(_PICK)}{n}.ts" for n in range(900)]
    lossy = Lossy("log", lambda _: None, "a" * 24)
    made = choose("\n".join(lines), "listing", lossy).text

    assert made is not None
    for folder in folders:
        assert re.search(rf"\d+ of the omitted lines are like: {folder}/deep/\* \.\.\.", made)


def _search_with_context(entry: str) -> list[str]:
    lines = []
    for n in range(0, 900, 9):
        lines += [f"{n}-{entry.format(n)}", f"{n + 1}:{entry.format(n)} found", f"{n + 2}-x", "--"]
    return lines


def test_lines_around_matches_in_a_file_stay() -> None:
    assert must_see(_search_with_context("    depot.call({})"), "search") is None


def test_lines_around_matches_in_a_log_may_go() -> None:
    seen = must_see(_search_with_context("2026-05-04 10:00:{} depot called"), "search")

    assert seen is not None
    assert len(seen) < 300


@pytest.mark.parametrize(
    "line",
    [
        "... [425441 characters truncated] ...",
        "<elided_chars>",
        "5613 characters elided",
        "…3120 tokens truncated…",
    ],
)
def test_what_a_harness_cut_out_stays_in_sight(line: str) -> None:
    lines = [f"src/part_{n % 40}.py:{n}:call({n})" for n in range(600)]
    lines[311] = line
    seen = must_see(lines, "search")

    assert seen is not None
    assert 311 in seen


def test_source_line_of_a_frame_stays_with_it() -> None:
    lines = ["Traceback (most recent call last):"]
    for n in range(20):
        lines += [f'  File "/lib/part_{n}.py", line {n}, in run', f"    step({n})", "    ^^^^^^^"]
    place = lines.index("    step(7)")

    assert with_frames(lines, {0, place}) == {0, place, place - 1}
    assert with_frames(lines, {place + 1}) == {place + 1, place, place - 1}


def test_passed_tests_that_are_omitted_are_counted() -> None:
    text = "\n".join(
        [f"tests/test_depot.py::test_{word(_PICK)}_{n} PASSED" for n in range(200)]
        + ["=== 200 passed in 3.2 s ==="]
    )
    made = choose(text, "test_run", Lossy("log", lambda _: None, "a" * 24)).text

    assert made is not None
    assert re.search(r"\d+ of the omitted lines are like: .*PASSED", made)


def _in_sight(lines: list[str], kind: Kind) -> list[str]:
    seen = must_see(lines, kind)
    assert seen is not None
    return [lines[place] for place in sorted(seen)]


def test_errors_of_other_languages_stay() -> None:
    told = [
        "连接池已满，写入失败",
        "Zahlung abgelehnt: zu viele Clients",
        "接続エラーが発生しました",
    ]
    for bad in told:
        lines = [f"2026-05-04 {clock(n)} 订单 {n} 完成 {word(_PICK)}" for n in range(400)]
        lines[50:350:10] = [
            f"2026-05-04 {clock(n)} 订单 {n} {bad} {word(_PICK)}" for n in range(30)
        ]
        assert sum(bad in line for line in _in_sight(lines, "log")) == 30


def test_levels_by_a_letter_are_read() -> None:
    lines = [
        f"03-14 {clock(n)}.120  812  {n} D OkHttp  : --> GET /{word(_PICK)}" for n in range(400)
    ]
    crash = [f"03-14 {clock(n)}.120  812  812 E AndroidRuntime: unit {n} sank" for n in range(40)]
    lines[200:240] = crash
    assert set(crash) <= set(_in_sight(lines, "log"))


def test_frames_behind_a_prefix_tell_a_trace() -> None:
    frames = [f"web-1  | \tat org.quay.Part{n}.run(Part{n}.java:{n})" for n in range(30)]
    lines = [f"web-1  | 2026-05-04 {clock(n)} unit {n} is open" for n in range(400)]
    lines[200:200] = ["web-1  | the quay is closed", *frames]
    shown = _in_sight(lines, "log")
    assert [line for line in shown if line in frames] == [*frames[:2], *frames[-2:]]


def test_counts_of_no_failures_are_none() -> None:
    lines = [f"web-{n} : ok={n % 9} unreachable=0 failed=0 rejected_calls=0" for n in range(90)]
    lines[40] = lines[40].replace("unreachable=0", "unreachable=1")
    rate = "web-41 : ok=3 unreachable=0 failed=0.25 rejected_calls=0"
    assert [line for line in [*lines, rate] if is_bad(line)] == [lines[40], rate]
    assert not is_bad('{"unit": 3, "failed_calls": 0, "rejected": false}')


def test_passed_tests_of_many_programs_may_go() -> None:
    made = []
    for n in range(100, 150):
        made.append(f"        Start {n}: quay.Opens{n}")
        made.append(f"{n}/150 Test #{n}: quay.Opens{n} ....   Passed    0.{n} sec")
    lines = ["Test project /b", *made, *"abcdef"]
    lines[20] = "109/150 Test #109: quay.Opens109 ....***Not Run (Disabled)   0.00 sec"
    lines[40] = "119/150 Test #119: quay.Opens119 ....   Passed   58.31 sec"
    shown = _in_sight(lines, "test_run")
    assert {lines[20], lines[40]} <= set(shown)
    assert len(shown) < 25
    for passed in (
        "[       OK ] Quay.Opens{} (3 ms)",
        "Test Case '-[Quay opens{}]' passed (0.1 s).",
        "  Passed Quay.Opens{} [3 ms]",
        "test src/quay.rs - opens (line {}) ... ok",
    ):
        lines = [passed.format(n) for n in range(90)]
        assert len(_in_sight(lines, "test_run")) < 20


def test_history_says_of_each_commit_whose_it_is() -> None:
    lines: list[str] = []
    for _ in range(90):
        lines += [f"commit {hexes(_PICK, 40)}", f"Author: {word(_PICK)}", ""]
        lines += [f"    Mend {word(_PICK)}", "", "    Twice.", ""]
        lines += [f" src/{word(_PICK)}_{k}.py | {k} ++--" for k in range(9)]
    shown = _in_sight(lines, "listing")
    assert {line for line in lines if line[:4] in ("comm", "Auth", "    ")} <= set(shown)
    assert len(shown) < 0.6 * len(lines)


def test_line_stays_with_what_it_is_below_of() -> None:
    tree = [".", "├── quay", "│   ├── anna", "│   │   └── a.py", "│   └── b.py", "└── pier",
            "    └── c.py"]  # fmt: skip
    assert with_headings(tree, {3}) == {0, 1, 2, 3}
    assert with_headings(tree, {6}) == {0, 5, 6}
    assert with_headings(["Anna (2):", "      Mend it", "", "      Mend it again"], {3}) == {0, 3}
    assert with_headings(["  991 quay", "12345 pier", "    7 pier"], {2}) == {2}


@pytest.mark.parametrize(
    "head",
    ["== {}", "--- {}", ">>> {}", "{}:", "[{}]", "# {}", "host={}", "TASK {} *****",
     "checking {}...", "2026-05-04T10:0{}:00Z", "----------\n{}\n----------"],
)  # fmt: skip
def test_line_stays_with_the_head_of_its_section(head: str) -> None:
    lines = []
    for n in range(9):
        above = head.format(n).split("\n")
        lines += [*above, *[f"2026-05-04 {clock(k)} INFO {n} took {k} ms" for k in range(40)]]
    place = lines.index("2026-05-04 08:00:17 INFO 6 took 10 ms")
    first = place - 10 - len(above)
    assert with_sections(lines, {place}) == {place, *range(first, first + len(above))}
    plain = [line for line in lines if line.endswith(" ms")]
    assert with_sections(plain, {place}) == {place}


@pytest.mark.parametrize("line", [" src/quay.py | 9 ++++-----", "09:00:31   3  7.01  0.20  91.20"])
def test_line_of_a_table_is_no_head(line: str) -> None:
    lines = [line if n % 3 == 0 else f"quay {n} is open" for n in range(40)]
    assert with_sections(lines, {5, 8}) == {5, 8}
