"""Which calls count as repeated, and which have another reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.pipeline.message import Message, digest, read
from api.pipeline.repeated_calls import newest_calls, repeated_calls

from ..texts import call, openai_ran, result


def _facts(*messages: dict[str, Any]) -> list[Message]:
    raws = [json.dumps(message).encode() for message in messages]
    return [read(raw, digest(raw))[0] for raw in raws]


def _turn(name: str, inputs: dict[str, Any], identity: str) -> list[dict[str, Any]]:
    return [call(name, inputs, identity), result("out", identity)]


def _repeats(*turns: list[dict[str, Any]]) -> dict[str, str]:
    start = [{"role": "user", "content": "go on"}]
    return repeated_calls(_facts(*start, *[m for turn in turns for m in turn]))


LS = {"command": "ls -la"}
PART = {"file_path": "/a/b.py", "offset": 1, "limit": 9}
EDIT = {"file_path": "/a/b.py", "old_string": "x", "new_string": "y"}


def test_same_command_again_counts() -> None:
    assert _repeats(_turn("Bash", LS, "a"), _turn("Bash", LS, "b")) == {"b": "a"}
    spaced = {"command": " ls   -la "}
    assert _repeats(_turn("Bash", LS, "a"), _turn("Bash", spaced, "b")) == {"b": "a"}
    assert _repeats(_turn("Bash", LS, "a"), _turn("Bash", {"command": "ls"}, "b")) == {}


def test_another_part_of_the_same_file_counts() -> None:
    whole = {"file_path": "/a/b.py"}
    assert _repeats(_turn("Read", whole, "a"), _turn("Read", PART, "b")) == {"b": "a"}
    other = {"file_path": "/a/c.py"}
    assert _repeats(_turn("Read", other, "a"), _turn("Read", PART, "b")) == {}


def test_call_after_an_edit_is_no_repeat() -> None:
    turns = [_turn("Read", PART, "a"), _turn("Edit", EDIT, "e"), _turn("Read", PART, "b")]
    assert _repeats(*turns) == {}
    assert _repeats(*turns, _turn("Read", PART, "c")) == {"c": "b"}


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("sed -i s/a/b/ x.py", True),
        ("cat > x.py <<'EOF'", True),
        ("echo a >> x", True),
        ("apply_patch <<'EOF'", True),
        ("git checkout main", True),
        ("make 2>&1 | tail -5", False),
        ("make 2>/dev/null", False),
        ("make > /dev/null", False),
        ("git log --oneline", False),
        ("sed -n 1,5p x.py", False),
        ("grep -rn '->' src", False),
    ],
)
def test_call_after_changing_command_is_no_repeat(command: str, changes: bool) -> None:
    turns = [
        _turn("Bash", LS, "a"),
        _turn("Bash", {"command": command}, "e"),
        _turn("Bash", LS, "b"),
    ]
    assert _repeats(*turns) == ({} if changes else {"b": "a"})


def test_considers_only_newest_calls() -> None:
    turns = [_turn("Bash", LS, "a"), _turn("Bash", LS, "b"), _turn("Bash", {"command": "x"}, "c")]
    assert _repeats(*turns) == {}


def test_calls_of_one_answer_are_all_newest() -> None:
    both = [
        {"role": "assistant", "content": [*_turn("Bash", LS, i)[0]["content"]]} for i in ("b", "c")
    ]
    outputs = [result("out", "b"), result("out", "c")]
    assert _repeats(_turn("Bash", LS, "a"), [*both, *outputs]) == {"b": "a", "c": "b"}


def test_openai_calls_count_too() -> None:
    again = _facts(*openai_ran("x", "a"), *openai_ran("x", "a2"))
    same = {"cmd": "rg foo"}
    items: list[dict[str, Any]] = []
    for identity in ("p", "q"):
        made = json.dumps(same)
        items += [
            {"type": "function_call", "call_id": identity, "name": "exec", "arguments": made},
            {"type": "function_call_output", "call_id": identity, "output": "out"},
        ]
    assert repeated_calls(_facts(*items)) == {"q": "p"}
    assert newest_calls(again) == 2


def test_conversation_without_calls_has_none() -> None:
    assert repeated_calls([]) == {}
    assert repeated_calls(_facts({"role": "user", "content": "hi"})) == {}
