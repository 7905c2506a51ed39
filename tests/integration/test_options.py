"""Headroom's options on a real farm: modes, sessions, frozen messages, budgets, warnings."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest

from ..farm import Farm, user
from ..texts import conversation, events, manual, plain_prose, ran, rows


def _text(answer: Any, index: int = -1) -> str:
    return str(answer["messages"][index]["content"][0]["content"])


def test_lossy_inline_counts_omissions_without_a_marker(farm: Farm) -> None:
    name = user()
    body = conversation(ran(events(name)))
    marked = farm.post(body, name).json
    inline = farm.post({**body, "config": {"mode": "lossy_inline"}}, name).json
    assert marked["ccr_hashes"]
    assert inline["ccr_hashes"] == []
    assert "hash=" not in _text(inline)
    assert re.search(r"\[\d+ lines omitted in all\.\]", _text(inline))
    both = [_text(marked).split("\n")[:-1], _text(inline).split("\n")[:-1]]
    assert both[0] == both[1]
    again = farm.post({**body, "mode": "lossless_then_lossy"}, name).json
    assert again["messages"] == inline["messages"]


def test_lossy_inline_shortens_free_text(farm: Farm) -> None:
    name = user()
    body = conversation(manual(plain_prose(name) * 2)) | {"mode": "lossy_inline"}
    answer = farm.post(body, name).json
    assert answer["tokens_saved"] > 0
    assert "omitted in all.]" in _text(answer)
    assert "hash=" not in _text(answer)


def test_lossless_comes_before_lossy(farm: Farm) -> None:
    name = user()
    answer = farm.post(conversation(ran(rows(name))) | {"mode": "lossy_inline"}, name).json
    assert answer["tokens_saved"] > 0
    assert "lines omitted" not in _text(answer)


def test_answer_reports_replayed_messages(farm: Farm) -> None:
    name = user()
    turns = ran(events(name))
    first = farm.post({**conversation(turns), "config": {"session_id": "s-1"}}, name).json
    assert first["session"] == {
        "id": "s-1",
        "frozen_message_count": 0,
        "cached_prefix_replayed": False,
    }
    longer = {**conversation(turns + ran(rows(name), "b")), "config": {"session_id": "s-1"}}
    second = farm.post(longer, name).json
    assert second["session"]["frozen_message_count"] == len(first["messages"])
    assert second["session"]["cached_prefix_replayed"] is True
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert "session" not in farm.post(conversation(turns), name).json


def test_frozen_messages_come_back_byte_for_byte(farm: Farm) -> None:
    name = user()
    turns = conversation(ran(events(name)), ran(rows(name), "b"))
    count = len(turns["messages"]) - 1
    answer = farm.post({**turns, "config": {"frozen_message_count": count}}, name).json
    assert answer["messages"][:count] == turns["messages"][:count]
    assert answer["messages"][count] != turns["messages"][count]


@pytest.mark.parametrize("name", ["token_budget", "model_limit"])
def test_budget_makes_small_texts_lose_lines(farm: Farm, name: str) -> None:
    ada = user()
    # Lines that rows of values cannot shorten.
    stored = [
        f"00:00:{i} INFO stored {sha256(f'{ada}{i}'.encode()).hexdigest()}" for i in range(30)
    ]
    body = conversation(ran("\n".join(stored)))
    assert "omitted in all" not in _text(farm.post(body, user()).json)
    tight = farm.post({**body, name: 200}, ada).json
    assert "omitted in all" in _text(tight)
    assert tight["warnings"] == [f"over the budget: {tight['tokens_after']} tokens of 200"]


def test_unknown_options_are_only_reported(farm: Farm) -> None:
    name = user()
    body = conversation(ran(events(name)))
    plain = farm.post(body, name).json
    odd = farm.post({**body, "config": {"savings_profile": "agent-90"}}, name).json
    assert odd.pop("warnings") == ["unknown option: config.savings_profile"]
    assert "warnings" not in plain
    assert odd == plain


def test_wrong_option_is_a_clear_error(farm: Farm) -> None:
    body = conversation(ran("x")) | {"config": {"session_id": "x" * 257}}
    answer = farm.post(body, user())
    assert answer.status == 400
    assert answer.json["error"] == {
        "type": "invalid_field",
        "message": "'session_id' must be a non-empty string of at most 256 characters",
    }
