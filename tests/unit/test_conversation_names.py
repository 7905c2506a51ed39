"""The name under which a conversation's retrievals are stored."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from api.provider.body import Body
from api.provider.provider_interface import Exchange, Round, ToolResult
from api.provider.retrieval_exchange import pack, unpack
from api.provider.session import Conversation, conversation_of

SYSTEM = {"role": "system", "content": "You are an agent."}
MARK = {"cache_control": {"type": "ephemeral"}}


def _asked(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _named(*items: Any, array: str = "messages", **headers: str) -> Conversation:
    body = Body(json.dumps({array: items}).encode())
    return conversation_of(lambda name: headers.get(name.replace("-", "_")), body, array)


@pytest.mark.parametrize("array", ["messages", "input"])
def test_conversations_with_one_system_prompt_differ(array: str) -> None:
    developer = {**SYSTEM, "role": "developer"}
    keys = {
        _named(first, _asked(text), array=array).key
        for first in (SYSTEM, developer)
        for text in ("one", "two")
    }
    assert len(keys) == 2


def test_name_stays_while_the_conversation_grows() -> None:
    first = [SYSTEM, _asked("context"), _asked("fix the test")]
    later = [*first, {"role": "assistant", "content": "Done."}, _asked("and the other")]
    marked = json.loads(json.dumps(first))
    marked[-1]["content"][0] |= MARK
    now = [{**SYSTEM, "content": "It is noon."}, *later[1:]]
    assert len({_named(*items).key for items in (first, later, marked, now)}) == 1


def test_calls_and_outputs_end_the_beginning() -> None:
    output = {"type": "function_call_output", "call_id": "a", "output": "x"}
    one = _named(_asked("go"), output, _asked("more"), array="input")
    assert one == _named(_asked("go"), array="input")


def test_name_of_the_session_wins_and_tells_conversations_apart() -> None:
    one, two = (_named(_asked(text), session_id="s") for text in ("one", "two"))
    assert one.keys == two.keys == ("s",)
    assert one.named_beginning != two.named_beginning
    assert _named(_asked("one")).named_beginning == ""
    long = [_named(_asked("one"), session_id="s" * 300 + end).key for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) <= 256


def test_exchanges_of_the_version_before_are_found() -> None:
    known = "first:95b3c47bdbfa41932cacb51f7006e206"
    assert known in _named(SYSTEM, _asked("one")).keys
    packed = (
        b'{"at":1,"rounds":[{"said":[],"results":[{"id":"r1","text":"x","failed":false}]}],'
        b'"mixed":false,"answer":["text:a"],"id":"m","last_id":"n"}'
    )
    rounds = (Round(msgspec.Raw(b"[]"), (ToolResult("r1", "x"),)),)
    assert unpack([packed]) == [Exchange(1, rounds, False, ("text:a",), "m", "n")]
    assert unpack([packed])[0].is_at(1, ["text:a"], "any")


def test_exchange_is_readable_by_the_version_before() -> None:
    written = pack(Exchange(1, (), False, ("text:a",), beginning="b"))
    assert list(json.loads(written))[:4] == ["at", "rounds", "mixed", "answer"]


@pytest.mark.parametrize("items", [[], [7], [{"role": 7}], [SYSTEM]])
def test_conversation_without_a_question_has_a_name(items: list[Any]) -> None:
    assert _named(*items).key
