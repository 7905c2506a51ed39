"""The checks of the chaos harness find each kind of broken answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from loadtest.chaos.checks import changes, faults_of, hashes, strange_forms, totals
from loadtest.chaos.load import Exchange, turn_of
from loadtest.chaos.report import Outcome, broken, table

from ..texts import conversation, openai_ran, ran

_SENT: list[dict[str, Any]] = conversation(
    ran("a long text", "a"), openai_ran("another long text", "b")
)["messages"]


def _answered(change: Callable[[dict[str, Any]], Any] = lambda answer: None) -> Exchange:
    """Return an exchange with a whole answer, `change`d."""
    messages = json.loads(json.dumps(_SENT))
    messages[2]["content"][0]["content"] = "short"
    answer = {
        "messages": messages, "tokens_before": 100, "tokens_after": 60, "tokens_saved": 40,
        "degraded": [], "ccr_hashes": ["abc"],
    }  # fmt: skip
    change(answer)
    turn = turn_of("play", 1, _SENT)
    return Exchange(turn, "ada", 2.0, status=200, body=json.dumps(answer).encode(), seconds=1.9)


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, last, value = path

    def change(answer: dict[str, Any]) -> None:
        place: Any = answer
        for step in way:
            place = place[step]
        place[last] = value

    return change


def test_checks_accept_complete_answer() -> None:
    one = _answered()
    assert faults_of(one) == []
    assert one.late_ms == pytest.approx(-100)
    assert totals([one, one]) == (2, 80)
    assert hashes([one]) == {"ada": {"abc"}}


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer["messages"].pop(),
        lambda answer: answer["messages"].reverse(),
        lambda answer: answer.pop("degraded"),
        _set("messages", 0, "role", "assistant"),
        _set("messages", 0, "content", "another question"),
        _set("messages", 1, "content", 0, "input", {}),
        _set("messages", 2, "content", 0, "tool_use_id", "z"),
        _set("messages", 2, "content", 0, "content", ""),
        _set("messages", 2, "content", 0, "more", 1),
        _set("messages", 4, "tool_call_id", "z"),
        _set("messages", 4, "content", None),
        _set("tokens_saved", 41),
        _set("tokens_saved", -40),
        lambda answer: answer.update(tokens_after=100, tokens_saved=0),
        _set("degraded", ["internal"]),
    ],
)
def test_checks_find_broken_answer(change: Callable[[dict[str, Any]], Any]) -> None:
    assert faults_of(_answered(change))


def test_checks_find_missing_answer_and_wrong_status() -> None:
    turn = turn_of("play", 1, _SENT)
    assert faults_of(Exchange(turn, "ada", 2.0)) == ["no answer"]
    assert faults_of(Exchange(turn, "ada", 2.0, status=503)) == ["status 503"]


def test_checks_find_result_unlike_reference() -> None:
    one = _answered()
    rest = json.loads(one.body)["messages"]
    assert strange_forms([one], {"play": rest}) == []
    assert strange_forms([one], {"play": _SENT}) != []


def test_checks_allow_one_change_of_result() -> None:
    verbatim = _answered(_set("messages", 2, "content", 0, "content", "a long text"))
    short, shorter = _answered(), _answered(_set("messages", 2, "content", 0, "content", "s"))
    assert changes([verbatim, short, short]) == 0
    assert changes([short, verbatim]) == 1
    assert changes([verbatim, short, shorter]) == 1


def test_table_names_broken_promise() -> None:
    held = Outcome("held", 3, 3, worst_ms=-20.0, health_seconds=1.25)
    lost = Outcome("lost", 3, 2, tried_again=1, worst_ms=7.4, ledger=(1, -30), broken=["late"])
    text = table([held, lost], markdown=True)
    assert "| held | 3 | 3 | none | 0 | 0 | 1.2 |" in text
    assert "| lost | 3 | 2 (1 tried again) | 7 | 0 | +1 requests, -30 tokens | - |" in text
    assert broken([held, lost]) == ["lost: late"]
