"""One line that differs by a value stays in sight among hundreds of its kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from shared.content import Kind
from workers.fidelity.json_form import parsed
from workers.fidelity.json_list_extract import shortened_rows
from workers.fidelity.must_see import must_see
from workers.fidelity.outliers import extremes, spelled_otherwise

_NAMES = [
    f"{a}{b}" for a in ("har", "led", "qua", "mea", "ba", "lan") for b in ("bour", "ger", "rry")
]
_Line = Callable[[random.Random, int, str], str]


def _hex(rng: random.Random) -> str:
    return f"{rng.getrandbits(32):08x}"


_LINES: dict[str, tuple[Kind, _Line, Callable[[random.Random], str], list[str]]] = {
    "reading with a sign": (
        "log",
        lambda rng, n, value: f"sensor-{rng.randrange(9)} temp={value} hum={rng.randrange(60)}%",
        lambda rng: f"+{rng.randrange(10, 40)}.{rng.randrange(10)}C",
        ["-41.2C", "+97.5C"],
    ),
    "duration in another unit": (
        "log",
        lambda rng, n, value: f"job {_hex(rng)} on worker {rng.randrange(4)} took={value}",
        lambda rng: f"{rng.randrange(100, 990)}.{rng.randrange(10)}ms",
        ["2m3.5s", "700s"],
    ),
    "duration of several units": (
        "log",
        lambda rng, n, value: f"record[{n}]: Still creating... [{value} elapsed]",
        lambda rng: f"{rng.randrange(1, 6)}0s",
        ["10m0s"],
    ),
    "name with another number": (
        "log",
        lambda rng, n, value: f"probe {n} took {rng.randrange(90)} ms, leader={value}",
        lambda rng: "node-1",
        ["node-9"],
    ),
    "address that comes once": (
        "log",
        lambda rng, n, value: f"sshd[{n}]: Accepted for deploy from {value} port {40_000 + n}",
        lambda rng: "10.0.0.5",
        ["203.0.113.9"],
    ),
    "older version": (
        "log",
        lambda rng, n, value: f"node {n} runs {value} since {rng.randrange(9)} days",
        lambda rng: "v1.4.2",
        ["v1.4.1"],
    ),
    "part of a word": (
        "log",
        lambda rng, n, value: f"[{value}-thread-{rng.randrange(4)}] kept {_hex(rng)}",
        lambda rng: "pool-1",
        ["pool-2"],
    ),
    "branch of a commit": (
        "log",
        lambda rng, n, value: f"deployed {value}@{_hex(rng)} to /srv/{'a/' * rng.randrange(3)}x",
        lambda rng: "main",
        ["hotfix"],
    ),
    "row of a database": (
        "table",
        lambda rng, n, value: f" {n:>5} | {'sent' if n % 2 else 'paid'} | {value:>9} |",
        lambda rng: f"{rng.randrange(1, 900)}.{rng.randrange(100):02}",
        ["-412.50", "NULL", "1e+10"],
    ),
    "cell of a table with tabs": (
        "table",
        lambda rng, n, value: f"GENE{n}\tchr{rng.randrange(22)}\t{rng.randrange(10**8)}\t{value}",
        lambda rng: f"{rng.random():.4f}",
        ["-0.9912", "3.2e-12"],
    ),
    "cell of CSV": (
        "table",
        lambda rng, n, value: f"{rng.randrange(900)},{value},{_hex(rng)},{rng.randrange(900)}",
        lambda rng: str(rng.randrange(90)),
        ["-7", "101", ""],
    ),
    "size of a file": (
        "listing",
        lambda rng, n, value: f"-rw-r--r-- 1 app app {value:>5} May {n % 28 + 1:>2} file-{n}.bin",
        lambda rng: f"{rng.randrange(1, 999)}{rng.choice('KM')}",
        ["88G"],
    ),
    "member of JSON": (
        "log",
        lambda rng, n, value: f'{{"svc":"cart","at":"{_hex(rng)}","ms":{value},"ok":true}}',
        lambda rng: str(rng.randrange(300)),
        ["99999", "-1", "null"],
    ),
    "match of a search": (
        "search",
        lambda rng, n, value: f"a{n % 5}.yaml:{n * 7}:  {rng.choice(_NAMES)}: {{wait: {value}}}",
        lambda rng: str(rng.randrange(5, 60)),
        ["-1", "99999"],
    ),
    "negated address": (
        "table",
        lambda rng, n, value: f"{n + 1:>4} ACCEPT  tcp  --  {value:<20} 0.0.0.0/0  dpt:443",
        lambda rng: f"10.0.{rng.randrange(99)}.{rng.randrange(99)}/32",
        ["!10.0.1.7/32"],
    ),
}


@pytest.mark.parametrize("name", _LINES)
def test_odd_value_keeps_its_line_in_sight(name: str) -> None:
    kind, line, usual, odd = _LINES[name]
    for value in odd:
        rng = random.Random(7)
        lines = [line(rng, n, value if n == 250 else usual(rng)) for n in range(500)]
        kept = must_see(lines, kind)
        assert kept is not None
        assert 250 in kept, value
        assert len(kept) < 100


def test_lines_of_rare_kinds_are_compared() -> None:
    """Every kind here has few lines: users, states and commands vary."""
    rng = random.Random(3)
    lines = [
        f"{rng.randrange(9999):>6} {rng.choice(['root', 'app', 'db', 'www'])} {rng.choice('SRDI')} "
        f"{97.5 if n == 60 else rng.randrange(40) / 10:>5} {rng.choice(['node', 'java', 'nginx'])}"
        for n in range(90)
    ]
    kinds = [line.lstrip(" 0123456789") for line in lines]

    assert 60 in extremes(lines, kinds, smallest=False)


def test_several_values_that_come_once_are_seen() -> None:
    lines = [f"{n} login from 10.0.0.5 ok" for n in range(300)]
    odd = {50: "203.0.113.9", 90: "198.51.100.7", 210: "192.0.2.44"}
    for place, address in odd.items():
        lines[place] = f"{place} login from {address} ok"

    assert set(odd) <= spelled_otherwise(lines, ["*"] * 300)


def test_spellings_that_are_common_hide_nothing() -> None:
    rng = random.Random(5)
    lines = [
        f"took {rng.choice(['7s', '12ms', '-3s', '1m2s'])} for {_hex(rng)}" for _ in range(200)
    ]

    assert spelled_otherwise(lines, ["took"] * 200) == set()


def test_line_with_another_number_of_words_is_rare() -> None:
    lines = [f"{n} done" for n in range(100)]
    lines[40] = "40 done 2 7"

    assert spelled_otherwise(lines, ["*"] * 100) == {40}


def test_row_of_another_type_stays_in_a_json_list() -> None:
    rng = random.Random(2)
    rows = [{"id": n, "ms": rng.randrange(300), "note": f"n{n}", "ok": True,
             "at": f"2026-11-{n % 28 + 1}T10:00:00Z"} for n in range(300)]  # fmt: skip
    rows[100]["ms"] = None
    rows[110]["ms"] = 98765
    rows[120]["note"] = ""
    rows[130]["ms"] = -4
    rows[140]["ok"] = None
    rows[150]["at"] = "1970-01-01T00:00:00Z"
    shown = shortened_rows(parsed(json.dumps(rows)), "0" * 24)

    assert shown is not None
    assert len(shown.split("\n")) < 60
    ids = {line.split(",")[0] for line in shown.split("\n")}
    assert {"100", "110", "120", "130", "140", "150"} <= ids


_WORDS = "quay berth ship west open late lost told asked never again night early tide crew".split()  # noqa: SIM905


@pytest.mark.parametrize(
    "text",
    [
        lambda pick, n: " ".join(pick.choices(_WORDS, k=pick.randrange(3, 12))),
        lambda pick, n: (
            f"### Steps to reproduce\n\n1. Open the page of the quay and log in\n"
            f"2. Look at the ships of today and of the day before\n3. berth.total({n}) is not set\n"
        ),
    ],
    ids=["messages", "issues of one template"],
)
def test_what_people_wrote_stays_in_a_json_list(
    text: Callable[[random.Random, int], str],
) -> None:
    pick = random.Random(2)
    rows = [{"id": n, "user": f"u{n % 9}", "text": text(pick, n)} for n in range(300)]

    assert shortened_rows(parsed(json.dumps(rows)), "0" * 24) is None


def test_messages_of_a_program_may_go_from_a_json_list() -> None:
    rows = [{"id": n, "line": f"level=info msg=order {n} was sent to {n}"} for n in range(300)]
    shown = shortened_rows(parsed(json.dumps(rows)), "0" * 24)

    assert shown is not None
    assert len(shown.split("\n")) < 60


_ONCE = (
    "leader lost",
    "retries exhausted",
    "rollback started",
    "checksum differs",
    "leak detected",
    "no leader",
    "SIGTERM received",
    "connection lost",
    "duplicate key",
    "restarting (5)",
    "returned 404",
    "DROP TABLE users",
    "password is None",
    "feature flag off",
    "skipping migration 0042",
    "replica lag 9912s",
    "stale lock removed",
    "using default password",
    "heap almost full",
    "quota reached again",
    "Verbindung zum Server verloren",
    "user root logged in from 203.0.113.9",
    "ready: False",
)


def _messages(rng: random.Random) -> list[str]:
    """Return what a service says while nothing happens: ten kinds of lines, with names."""
    said = (
        lambda: f"read {rng.randrange(99)} rows from {rng.choice(_NAMES)}",
        lambda: f"cache hit {rng.choice(_NAMES)}",
        lambda: f"job {rng.randrange(999)} queued",
        lambda: f"job {rng.randrange(999)} done",
        lambda: f"user {rng.choice(_NAMES)} ok",
        lambda: f"ping {rng.choice(_NAMES)}",
        lambda: f"copied {rng.choice(_NAMES)}.{rng.choice(_NAMES)} to {rng.choice(_NAMES)}",
        lambda: f"GET /{rng.choice(_NAMES)} 200",
    )
    return [rng.choice(said)() for _ in range(900)]


def test_message_unlike_all_others_stays_in_sight() -> None:
    messages = _messages(random.Random(4))
    for number, once in enumerate(_ONCE):
        messages.insert(100 + number * 30, once)
    lines = [f"2026-05-04T10:00:{n % 60:02}Z INFO app {m}" for n, m in enumerate(messages)]
    kept = must_see(lines, "log")
    assert kept is not None

    assert {messages.index(once) for once in _ONCE} <= kept
    assert len(kept) < 140


def test_names_alone_make_no_kinds() -> None:
    rng = random.Random(6)
    lines = [f"moved {rng.choice(_NAMES)} to {rng.choice(_NAMES)}" for _ in range(600)]
    kept = must_see(lines, "log")
    assert kept is not None

    assert len(kept) < 40
