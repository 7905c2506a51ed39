"""Sent messages stay as sent when options change, even on replicas that have not seen them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from api.pipeline.compressor import Compressor

from ..texts import events
from .test_compressor import (
    LINES,
    ROWS,
    Elsewhere,
    _body,
    _compress,
    _compressor,
    _messages,
    _other,
    _ran,
)

SMALL = events("small", 30)
"""A log of 1900 characters, below the size from which an engine may drop lines."""
SAID = {"role": "user", "content": "what is wrong"}


def _replicas(count: int = 2) -> tuple[Elsewhere, list[Compressor]]:
    elsewhere = Elsewhere()
    return elsewhere, [_compressor(elsewhere) for _ in range(count)]


def _changed(messages: list[Any], sent: list[Any]) -> list[int]:
    pairs = zip(messages, sent, strict=True)
    return [index for index, (one, other) in enumerate(pairs) if one != other]


def test_frozen_messages_are_sent_as_received() -> None:
    _, (one, two) = _replicas()
    turns = [SAID, *_ran(ROWS), *_ran(_other("b"), identity="b"), *_ran(_other("c"), identity="c")]
    first = _messages(_compress(one, _body(turns, frozen_message_count=5)))
    assert _changed(first, turns) == [6]
    # They are no longer declared frozen, and stay as they are.
    turns += _ran(_other("d"), identity="d")
    for replica in (two, one):
        second = _messages(_compress(replica, _body(turns)))
        assert _changed(second, turns) == [6, 8]
        assert second[:7] == first


def test_frozen_messages_are_sent_as_before() -> None:
    _, (one, two) = _replicas()
    turns = [SAID, *_ran(ROWS)]
    first = _messages(_compress(one, _body(turns)))
    assert _changed(first, turns) == [2]
    turns += _ran(_other("b"), identity="b")
    # The last two were not sent before, so they are frozen as received.
    for replica in (two, one):
        second = _messages(_compress(replica, _body(turns, frozen_message_count=5)))
        assert _changed(second, turns) == [2]
        assert second[:3] == first


def test_frozen_count_above_length_freezes_all() -> None:
    _, (one, _) = _replicas()
    turns = [SAID, *_ran(ROWS)]
    assert _messages(_compress(one, _body(turns, frozen_message_count=99))) == turns


def test_forms_sent_back_as_messages_stay() -> None:
    _, (one, two) = _replicas()
    turns = [SAID, *_ran(ROWS)]
    sent = _messages(_compress(one, _body(turns)))
    again = [*sent, *_ran(_other("b"), identity="b")]
    answer = _messages(_compress(two, _body(again, frozen_message_count=len(sent))))
    assert _changed(answer, again) == [4]


def test_frozen_without_redis_are_sent_as_received() -> None:
    elsewhere, (one, _) = _replicas()
    elsewhere.away = True
    turns = [SAID, *_ran(LINES), *_ran(LINES, identity="b")]
    assert _messages(_compress(one, _body(turns, frozen_message_count=5))) == turns


def test_budget_lets_smaller_texts_shrink() -> None:
    turns = [SAID, *_ran(SMALL), *_ran(events(), identity="b")]
    turns += _ran(events("tiny", 30), identity="c")
    elsewhere, (one, two) = _replicas()
    elsewhere.reversible = False
    assert _changed(_messages(_compress(one, _body(turns))), turns) == [4]
    tight = _compress(two, _body(turns, token_budget=8000, session_id="t"))
    assert _changed(_messages(tight), turns) == [4, 6]


def test_changed_budget_keeps_sent_messages() -> None:
    elsewhere, (one, two) = _replicas()
    elsewhere.reversible = False
    turns = [SAID, *_ran(events()), *_ran(SMALL, identity="b")]
    before = _messages(_compress(one, _body(turns, token_budget=100_000)))
    assert _changed(before, turns) == [2]
    turns += _ran(events("tiny", 30), identity="c")
    for replica in (two, one):
        after = _messages(_compress(replica, _body(turns, token_budget=100)))
        assert after[: len(before)] == before
        assert _changed(after, turns) == [2, 6]


def test_warns_when_result_exceeds_budget() -> None:
    _, (one, _) = _replicas()
    turns = [SAID, *_ran(ROWS)]
    answer = _compress(one, _body(turns, token_budget=10))
    assert answer.warnings == (f"over the budget: {answer.tokens_after} tokens of 10",)
    assert not _compress(one, _body(turns, token_budget=10**6)).warnings


def test_system_messages_shrink_only_when_asked() -> None:
    turns = [{"role": "system", "content": events()}, SAID]
    assert _messages(_compress(_compressor(Elsewhere()), _body(turns))) == turns
    _, (one, two) = _replicas()
    asked = _messages(_compress(one, _body(turns, compress_system_messages=True)))
    assert _changed(asked, turns) == [0]
    turns.append({"role": "assistant", "content": "I see"})
    for replica in (two, one):  # it was shortened, and stays shortened
        assert _messages(_compress(replica, _body(turns)))[:2] == asked


def test_sessions_with_equal_messages_stay_separate() -> None:
    elsewhere = Elsewhere()
    elsewhere.late = ("late",)
    one, two = _compressor(elsewhere), _compressor(elsewhere)
    turns = [SAID, *_ran(_other("late"))]
    assert _messages(_compress(one, _body(turns, session_id="a"))) == turns
    elsewhere.late = ()
    for replica in (one, two):
        other = _compress(replica, _body(turns, session_id="b"))
        assert _changed(_messages(other), turns) == [2]
        assert other.session.id == "b"
    # The rest is so long that replacing the first session's text would not pay.
    turns += _ran(*[_other(f"much{n}") for n in range(9)], identity="b")
    assert _messages(_compress(two, _body(turns, session_id="a")))[:3] == turns[:3]


def test_session_reports_replayed_messages() -> None:
    _, (one, two) = _replicas()
    turns = [SAID, *_ran(ROWS)]
    states = [_compress(one, _body(turns, session_id="a")).session]
    turns += _ran(_other("b"), identity="b")
    states.append(_compress(two, _body(turns, session_id="a", frozen_message_count=4)).session)
    found = [(s.frozen_message_count, s.cached_prefix_replayed) for s in states]
    assert found == [(0, False), (4, True)]


def test_ignores_notes_of_another_version() -> None:
    elsewhere, (one, two) = _replicas()
    turns = [SAID, *_ran(ROWS)]
    first = _messages(_compress(one, _body(turns)))
    for key in elsewhere.requests:
        elsewhere.requests[key] = b"\x93\x01\xa1x"
    assert _messages(_compress(two, _body(turns))) == first


@pytest.mark.parametrize("seed", range(6))
def test_replicas_decide_alike_under_changing_options(seed: int) -> None:
    """Three replicas give the same answers as one process, and each answer extends the last."""
    choose = random.Random(seed)
    alone = _compressor(Elsewhere())
    _, replicas = _replicas(3)
    turns: list[Any] = [SAID]
    before: list[Any] = []
    for number in range(9):
        texts = [_other(f"{seed} {choose.randrange(5)}"), LINES, LINES[:900], "short"]
        turns += _ran(*choose.sample(texts, 2), identity=f"t{number}-")
        options = choose.choice(
            [
                {},
                {"frozen_message_count": choose.randrange(len(turns) + 1)},
                {"token_budget": choose.choice([500, 3000, 10**6])},
                {"target_ratio": choose.random() or 1},
                {"min_tokens_to_compress": choose.choice([1, 10**6])},
                {"compress_user_messages": True},
                {"protect_analysis_context": False, "compress_system_messages": True},
            ]
        )
        body = _body(turns, **options)
        answer = _messages(_compress(alone, body))
        assert answer[: len(before)] == before
        assert _messages(_compress(choose.choice(replicas), body)) == answer, (number, options)
        before = json.loads(json.dumps(answer))
