"""The farm's answers equal headroom's on real command output, except for deliberate differences."""

from __future__ import annotations

import json
import re
import secrets
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.content import classify
from shared.originals_in_redis import digest_of
from workers.fidelity import choose

from ..documented import page
from .compare import compare, references
from .corpus import Conversation, conversations
from .explain import (
    DIFFERENCES,
    EXTRACT,
    LITTLE,
    PAGES,
    REFERENCE,
    REVERSIBLE,
    SHORT,
    WHAT,
    why_changed,
)

_ATTEMPTS = 8


def _post(url: str, case: Conversation) -> dict[str, Any]:
    """Post as a new user; repeat if a slow machine did not finish in time."""
    body = json.dumps({"messages": case.messages, "model": case.model, **case.options}).encode()
    result: dict[str, Any] = {}
    for _ in range(_ATTEMPTS):
        request = urllib.request.Request(
            f"{url}/v1/compress",
            body,
            {
                "content-type": "application/json",
                "x-maas-username": f"oracle-{secrets.token_hex(8)}",
            },
        )
        with urllib.request.urlopen(request, timeout=90) as answer:
            result = json.load(answer)
        if not {"overload", "deadline"} & set(result["degraded"]):
            break
    return result


@pytest.fixture(scope="module")
def cases() -> list[Conversation]:
    return conversations()


def test_fresh_session_equals_headroom_compress(farm: Any, cases: list[Conversation]) -> None:
    assert len(cases) >= 200
    expected = references(cases)
    assert len(expected) == len(cases)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda case: _post(farm.url, case), cases))
    deliberate: Counter[str] = Counter()
    faults = []
    transforms: set[str] = set()
    for case, answer, reference in zip(cases, answers, expected, strict=True):
        verdict = compare(case, answer, reference)
        deliberate += verdict.deliberate
        faults += [f"{case.name}: {fault}" for fault in verdict.faults]
        transforms.update(t.split(":")[1] for t in reference.transforms if t.count(":"))
    assert not faults, "\n".join(faults[:10])
    # Every deliberate difference must have occurred, or the comparison proves little.
    assert set(deliberate) >= {WHAT, SHORT, EXTRACT, REVERSIBLE, PAGES, LITTLE, REFERENCE}
    # Every engine must have been used, too.
    assert {"smart_crusher", "log", "search", "diff", "html", "tabular", "config"} <= transforms
    assert {"excluded", "protected", "mixed", "stale"} <= transforms


def test_architecture_lists_every_deliberate_difference() -> None:
    section = page("docs/architecture.md").partition("### Where the farm differs")[2]
    titles = re.findall(r"\*\*(.+?)\*\*", section.partition("\n## ")[0], re.DOTALL)
    for name in DIFFERENCES:
        assert any(" ".join(title.split()).startswith(name) for title in titles), name


def test_damage_is_no_deliberate_difference() -> None:
    lines = [f"2026-01-01 00:00:{n:02d} INFO unit {n} did not stop" for n in range(60)]
    text = "\n".join(lines)
    extract = (
        f"{lines[0]}\n[... 59 lines omitted ...]\n[59 lines omitted in all. Retrieve original: "
    )
    assert why_changed(text, f"{extract}hash={digest_of(text)}]", ())[1] == ""
    for wrong in (
        f"{extract}hash={digest_of(lines[0])}]",
        extract.replace("59", "58") + f"hash={digest_of(text)}]",
        extract.replace("did not", "did") + f"hash={digest_of(text)}]",
        text.replace(lines[7] + "\n", ""),
        "[lines 1-60 of this output (60 lines) are identical to lines 1-60 of x; omitted here]",
    ):
        assert why_changed(text, wrong, ())[1] != ""
    assert why_changed(text, wrong, (text,))[1] == ""


def test_reference_to_whole_form_puts_it_back() -> None:
    text = "".join(f"Compiling './encodings/cp{n * 7}.py'...\n" for n in range(200))
    form = choose(text, classify(text, None).kind, None).text
    assert form.endswith("\n")
    assert form != text
    line = "[this entire output is identical to the entire output of CALL a; omitted here]"
    assert why_changed(text, f"{line}\n", (form,)) == (REFERENCE, "")
    assert why_changed(text, f"{line}\n", (form.replace("cp91.", "cp92."),))[1] != ""
