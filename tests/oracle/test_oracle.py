"""The farm's answers equal headroom's on real command output, except for deliberate differences."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .compare import compare, references
from .corpus import Conversation, conversations


def _post(url: str, case: Conversation) -> dict[str, Any]:
    body = {"messages": case.messages, "model": case.model, **case.options}
    request = urllib.request.Request(
        f"{url}/v1/compress",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-maas-username": f"oracle-{secrets.token_hex(8)}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        result: dict[str, Any] = json.load(answer)
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
    # Each deliberate difference came up, or this proves little.
    assert all(deliberate[kind] for kind in ("verbatim", "extract", "reversible", "html"))
    # Every engine was in it, or the comparison proves little.
    assert {"smart_crusher", "log", "search", "diff", "html", "tabular", "config"} <= transforms
    assert {"excluded", "protected", "mixed", "stale"} <= transforms
