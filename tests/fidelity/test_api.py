"""Answers of a running farm for every kind of output, in each of the three message formats."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.fidelity.__main__ import MAKERS
from loadtest.fidelity.judge import judge
from loadtest.fidelity.logs import packages
from loadtest.fidelity.programs import python
from loadtest.fidelity.sample import Sample

from ..farm import Farm, request, user
from .conversations import SHAPES, Shape, results, turns

_LINES = 250
_AT_ONCE = 14


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with a deadline that is long enough for any machine."""
    with Farm(tmp_path_factory.mktemp("farm"), deadline_ms=60_000) as farm:
        yield farm.start()


def _answered(farm: Farm, body: dict[str, Any], name: str) -> dict[str, Any]:
    answer = farm.post(body, name)
    assert answer.status == 200, answer.body[:300]
    found: dict[str, Any] = answer.json
    assert found["degraded"] == []
    return found


def _originals(farm: Farm, answer: dict[str, Any], name: str) -> dict[str, str]:
    found = {}
    for digest in answer["ccr_hashes"]:
        kept = request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": name})
        assert kept.status == 200
        found[digest] = kept.json["original_content"]
    return found


def _samples(part: int) -> list[Sample]:
    makers = MAKERS[part * _AT_ONCE : (part + 1) * _AT_ONCE]
    return [make(random.Random(f"api {make.__name__}"), _LINES) for make in makers]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", range(-(-len(MAKERS) // _AT_ONCE)))
def test_no_kind_of_output_is_damaged(patient: Farm, shape: Shape, part: int) -> None:
    samples, name = _samples(part), user()
    body = turns(shape, samples)
    answer = _answered(patient, body, name)
    originals = _originals(patient, answer, name)
    shown = results(shape, answer)
    assert len(shown) == len(samples)
    for sample, text in zip(samples, shown, strict=True):
        mine = {digest: kept for digest, kept in originals.items() if f"hash={digest}" in text}
        judged = judge(sample, text, mine, "farm")
        assert judged.hidden == [], sample.name
        assert judged.made_up == [], sample.name
        assert judged.lost == 0, sample.name
        assert judged.inexact == 0, sample.name
        assert list(mine.values()) in ([], [sample.text]), sample.name
        assert judged.after <= judged.before, sample.name
    assert sum(text.count("hash=") for text in shown) == len(originals)
    # Everything except the results is unchanged.
    assert turns(shape, samples, shown) == {**body, **{k: answer[k] for k in ("messages", "input")
                                                       if k in answer}}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("code_first", [True, False])
def test_call_id_used_twice_means_the_nearest_call(
    patient: Farm, shape: Shape, code_first: bool
) -> None:
    code, log = python(random.Random(5), 300), packages(random.Random(6), 500)
    samples = [code, log] if code_first else [log, code]
    answer = _answered(patient, turns(shape, samples, same_id=True), user())
    shown = dict(zip((s.name for s in samples), results(shape, answer), strict=True))
    assert shown[code.name] == code.text
    assert len(shown[log.name]) < len(log.text) / 2


def test_parts_of_a_result_keep_number_order_and_marks(patient: Farm) -> None:
    log, code = packages(random.Random(7), 500), python(random.Random(8), 200)
    body = turns("anthropic", [log])
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": log.text, "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "text", "text": code.text, "custom": [1, 2.50]},
    ]
    body["messages"][2]["content"][0]["content"] = parts
    answer = _answered(patient, body, user())
    found = answer["messages"][2]["content"][0]["content"]
    assert len(found) == 3
    assert found[1:] == parts[1:]
    assert found[0]["cache_control"] == {"type": "ephemeral"}
    assert found[0].keys() == parts[0].keys()
    assert len(found[0]["text"]) < len(log.text) / 2


def test_numbers_and_equal_keys_of_json_keep_their_spelling(patient: Farm) -> None:
    rows = ",\n".join(f'  {{"id": {n}, "rate": {n}.10e+02, "rate": 1E400}}' for n in range(90))
    sample = Sample("rates", "json", "http GET http://api/rates", f"[\n{rows}\n]")
    body = turns("openai", [sample])
    answer = patient.post(json.dumps(body).encode(), user()).json
    shown = results("openai", answer)[0]
    for n in range(0, 90, 7):
        assert f"{n}.10e+02" in shown
    assert shown.count("1E400") == 90
