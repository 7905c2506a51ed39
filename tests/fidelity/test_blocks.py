"""Blocks of lines as rows: a row holds the values of one entry, never the end of one and the
beginning of the next."""

from __future__ import annotations

import json
import random

import pytest

from shared.content import Kind
from workers.fidelity import choose

from .expand import expanded

RULE = "━" * 40
NAMES = ("flask", "jinja2", "click", "werkzeug", "requests", "pydantic", "urllib3", "idna", "attrs")


def _shown(text: str, kind: Kind) -> str:
    """Return the form of ``text``; check that a reader gets the text back from it."""
    form = choose(text, kind, None).text
    assert form is not None
    assert expanded(form) == text
    return form


def _tap(rng: random.Random) -> str:
    tests = "".join(
        f"    # Subtest: {name} are taken\n    ok {n} - {name} are taken\n      ---\n"
        f"      duration_ms: {rng.random() * 9:.6f}\n      ...\n"
        for n, name in enumerate(NAMES, 1)
    )
    return f"TAP version 13\n# Subtest: cart\n{tests}    1..9\nok 1 - cart\n# tests 9\n# pass 9"


def _downloads(rng: random.Random) -> str:
    sizes = [rng.randrange(80, 9000) for _ in NAMES]
    lines = [f"Collecting {name}" for name in NAMES[:3]]
    for name, size in zip(NAMES, sizes, strict=True):
        speed = rng.randrange(10, 99) / 10
        lines.append(f"Downloading {name}-py3-none-any.whl ({size} kB)")
        lines.append(f"   {RULE} {size / 1000:.1f}/{size / 1000:.1f} MB {speed} MB/s eta 0:00:00")
    return "\n".join([*lines, "Installing collected packages", "Successfully installed"])


def _collected(rng: random.Random) -> str:
    made = "".join(
        f"Collecting {name}>={rng.randrange(9)}.{rng.randrange(30)} (from -r requirements.txt (line"
        f" {n}))\n  Fetching {name}-{rng.randrange(9)}.tar.gz.metadata ({rng.randrange(90)} kB)\n"
        for n, name in enumerate(NAMES, 1)
    )
    return f"Looking in indexes\nUsing a cache\n{made}Installing collected packages\nDone"


def _builds(rng: random.Random) -> str:
    made = "".join(
        f"target={name} profile=release host=x86_64\n"
        f"state=built files={rng.randrange(99)} seconds={rng.random() * 9:.2f} linker=mold\n"
        for name in NAMES
    )
    return f"Build started\nHost linux\n{made}Build ended\nNothing is left to do"


def _commits(rng: random.Random) -> str:
    return "\n".join(
        f"commit {rng.getrandbits(160):040x}\nAuthor: Ada Lind <ada@example.org>\n"
        f"Date:   2026-05-{n:02} 10:{rng.randrange(60):02}:00 +0100\n\n    Mend the {name}\n"
        for n, name in enumerate(NAMES, 1)
    )


@pytest.mark.parametrize(
    ("text", "kind", "first", "second"),
    [
        (_tap(random.Random(1)), "test_run", "# Subtest: {}", "duration_ms: {}"),
        (_downloads(random.Random(2)), "log", "{} kB)", " MB/s eta"),
        (_collected(random.Random(7)), "log", "Collecting {}", "  Fetching {}"),
        (_builds(random.Random(3)), "log", "target={} profile", "state=built"),
        (_commits(random.Random(4)), "listing", "{}\n...Author: ", "    Mend the {}"),
    ],
    ids=["tap", "downloads", "collected", "builds", "commits"],
)
def test_block_begins_where_an_entry_begins(text: str, kind: Kind, first: str, second: str) -> None:
    shown = _shown(text, kind)

    assert "blocks are like" in shown
    frame = shown[shown.index("blocks are like") :]
    assert frame.index(f"...{' ' * 4 * (kind == 'test_run')}{first}") < frame.index(second)


def test_first_entry_of_blocks_stays_whole() -> None:
    text = _commits(random.Random(5))

    assert _shown(text, "listing").startswith(text[: text.index("commit", 9)])


def test_rows_go_on_behind_json_table_with_note() -> None:
    rng = random.Random(6)
    lines = [
        {
            "at": f"2026-11-24T{n // 60:02}:{n % 60:02}:07Z",
            "level": "error" if n % 4 < 3 else "warn",
            "trace": f"{rng.getrandbits(64):016x}",
            "message": "upstream failed" if n % 4 < 3 else "slow query",
        }
        | ({"attempts": n % 3, "upstream": f"billing-{n % 5}:8443"} if n % 4 < 3 else {})
        for n in [0, 3, 1, 7, 2, 4, 11, 15, 19, 5, 6, 23, 8, 27, 9, 10, 31, 12]
    ]
    shown = _shown_json(lines)

    tables = [at for at, line in enumerate(shown) if line.startswith("[3]{")]
    assert tables
    for at in tables:
        assert not shown[at + 4].startswith("...")


def _shown_json(lines: list[dict[str, object]]) -> list[str]:
    form = choose("\n".join(map(json.dumps, lines)), "json", None).text
    assert form is not None
    return form.split("\n")
