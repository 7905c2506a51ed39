"""All requests of a session get the same name, and another session gets another one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.pipeline.session_identity import Filed, session_digest
from api.pipeline.split_body import split

from ..texts import ran

SYSTEM = {"role": "system", "content": "You are an agent."}
CONTEXT = {"role": "user", "content": "<environment>the same in all sessions</environment>"}
MARK = {"cache_control": {"type": "ephemeral"}}


def _asked(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _name(
    messages: list[Any], user: str = "u", session: str = "", array: str = "messages"
) -> bytes:
    return session_digest(user, session, split(json.dumps({array: messages}).encode(), ()))


def test_name_is_stable_while_conversation_grows() -> None:
    first = [SYSTEM, CONTEXT, _asked("fix the test")]
    later = [*first, *ran("out", "a"), _asked("and now the other"), *ran("out", "b")]
    names = {_name(later[:end]) for end in (3, 5, 6, 8)}
    assert len(names) == 1
    marked = json.loads(json.dumps(first))
    marked[-1]["content"][0] |= MARK  # the mark moves with each turn
    assert _name(marked) in names


def test_sessions_differ_by_first_question() -> None:
    names = {_name([SYSTEM, CONTEXT, _asked(text)]) for text in ("one", "two", "three")}
    assert len(names) == 3
    other = {**SYSTEM, "content": "You are another release."}
    assert _name([other, CONTEXT, _asked("one")]) in names  # instructions do not count


def test_responses_sessions_differ_too() -> None:
    items: list[Any] = [
        {"type": "message", "role": "developer", "content": "rules"},
        {"type": "message", "role": "user", "content": "ask"},
        {"type": "reasoning", "encrypted_content": "x"},
        {"type": "function_call", "call_id": "a", "name": "n", "arguments": "{}"},
        {"type": "message", "role": "user", "content": "more"},
    ]
    assert _name(items[:2], array="input") == _name(items, array="input")


def test_client_session_id_identifies_the_session() -> None:
    one, two = [_asked("one")], [_asked("two")]
    assert _name(one, session="s") == _name(two, session="s")
    assert _name(one, session="s") != _name(one, session="t")
    assert _name(one, session="s") != _name(one, user="v", session="s")
    assert _name(one) != _name(one, user="v")


@pytest.mark.parametrize("messages", [[], [SYSTEM], [{"role": "assistant", "content": "hi"}], [7]])
def test_conversation_without_question_has_a_name(messages: list[Any]) -> None:
    assert len(_name(messages)) == 16


def test_request_note_round_trips() -> None:
    filed = Filed("pilot", "on", b"x" * 16, b"chain", 3)
    assert Filed.unpack(filed.packed) == Filed("pilot", "on", b"x" * 16)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"prompt_cache_key": "s1"}, "s1"),
        ({"metadata": {"user_id": "user_a_session_b"}}, "user_a_session_b"),
        ({"prompt_cache_key": "s1", "metadata": {"user_id": "x"}}, "s1"),
        ({"prompt_cache_key": "", "metadata": {"user_id": "x"}}, "x"),
        ({"prompt_cache_key": 7}, ""),
        ({"metadata": []}, ""),
        ({"metadata": {"user_id": None}}, ""),
        ({"prompt_cache_key": "x" * 5000}, ""),
        ({"metadata": {"user_id": "x" * 5000}}, ""),
        ({}, ""),
    ],
)
def test_whole_provider_request_names_its_session(more: dict[str, Any], name: str) -> None:
    body = json.dumps({"messages": [_asked("one")], **more}).encode()
    assert split(body, ()).envelope.session == name
