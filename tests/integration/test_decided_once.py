"""Every turn's answer begins with the last turn's answer, whatever happens between the two.

Sessions are generated in the shapes that agents send; answers are compared byte for byte, but
for the cache marks, which move by themselves.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ..farm import Answer, Farm, user
from ..texts import events, prose, rows

MARK = {"type": "ephemeral"}
_MARK = re.compile(rb',\s*"cache_control":\s*\{[^{}]*\}')
_items = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
SHAPES = ("claude", "chat", "responses")
TURNS = 8


class Session:
    """An agent's conversation that grows by a turn at a time, in one of the shapes."""

    def __init__(self, shape: str, seed: int) -> None:
        self.shape = shape
        self._random = random.Random(f"{shape} {seed}")
        self._seed = f"{shape}{seed}"
        self._made = 0
        self._source = [f"    value_{n} = compute({n}, {seed})  # {shape}" for n in range(90)]
        self.items: list[dict[str, Any]] = []
        self._say("what is wrong with the build")

    @property
    def array(self) -> str:
        """The field that holds the conversation."""
        return "input" if self.shape == "responses" else "messages"

    def body(self, **options: Any) -> dict[str, Any]:
        """Return the request of this turn, its newest message marked as Claude Code does."""
        items: list[dict[str, Any]] = json.loads(json.dumps(self.items))
        if self.shape == "claude" and isinstance(items[-1]["content"], list):
            items[-1]["content"][-1]["cache_control"] = MARK
        return {self.array: items, "model": "claude-x", **options}

    def turn(self, *texts: str) -> None:
        """Call tools and get their results; ``texts`` where they are not random."""
        printed = list(texts) or [self._text() for _ in range(self._random.choice([1, 1, 2, 3]))]
        # A client may use an id again: a result answers the nearest call before.
        again = not texts and self._made and self._random.random() < 0.2
        first = self._made - 1 if again else self._made
        self._made = first + len(printed)
        names = [f"call_{first + n}" for n in range(len(printed))]
        commands = [f"make step-{self._random.randrange(5)}" for _ in printed]
        add = {"claude": self._claude, "chat": self._chat, "responses": self._response}[self.shape]
        add(names, commands, printed)
        if self._random.random() < 0.3:
            self._say(self._random.choice(["go on", "please review this code", "why"]))

    def _say(self, text: str) -> None:
        kind = {"type": "message"} if self.shape == "responses" else {}
        self.items.append({**kind, "role": "user", "content": text})

    def _text(self) -> str:
        number = self._random.randrange(3)
        kind = self._random.randrange(6)
        if kind == 0:
            return rows(f"{self._seed} {number}", 80)
        if kind == 1:
            return events(f"{self._seed} {number}", 200)
        if kind == 2:
            return prose(f"{self._seed} {number}")
        if kind == 3:
            self._source[self._random.randrange(90)] = f"    edited({self._random.random()})"
        if kind == 4:
            return "\n".join(self._source[number * 10 : 60 + number * 10])
        return "\n".join(f"{n:>6}\t{line}" for n, line in enumerate(self._source, 1))

    def _claude(self, names: list[str], commands: list[str], printed: list[str]) -> None:
        uses = [
            {"type": "tool_use", "id": name, "name": "Bash", "input": {"command": command}}
            for name, command in zip(names, commands, strict=True)
        ]
        results: list[dict[str, Any]] = []
        for name, text in zip(names, printed, strict=True):
            content: Any = text
            if self._random.random() < 0.3:
                content = [{"type": "text", "text": text, "x": 1.5}, {"type": "text", "text": "ok"}]
            results.append({"type": "tool_result", "tool_use_id": name, "content": content, "y": 2})
        self.items.append({"role": "assistant", "content": uses})
        self.items.append({"role": "user", "content": results})

    def _chat(self, names: list[str], commands: list[str], printed: list[str]) -> None:
        calls = []
        for name, command in zip(names, commands, strict=True):
            function = {"name": "Bash", "arguments": json.dumps({"command": command})}
            calls.append({"id": name, "type": "function", "function": function})
        self.items.append({"role": "assistant", "content": None, "tool_calls": calls})
        for name, text in zip(names, printed, strict=True):
            self.items.append({"role": "tool", "tool_call_id": name, "content": text, "y": 2})

    def _response(self, names: list[str], commands: list[str], printed: list[str]) -> None:
        for name, command in zip(names, commands, strict=True):
            made = json.dumps({"cmd": command})
            item = {"type": "function_call", "name": "shell", "arguments": made, "call_id": name}
            self.items.append(item)
        for name, text in zip(names, printed, strict=True):
            head = (
                f"Chunk ID: {self._random.getrandbits(24):06x}\nWall time: 0.1 seconds\nOutput:\n"
            )
            item = {"type": "function_call_output", "call_id": name, "output": head + text}
            self.items.append(item)


class Answers:
    """The answers of one session; each must begin with the one before."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.last: list[bytes] = []
        self.transforms: list[str] = []
        self.changed = 0

    def take(self, answer: Answer) -> None:
        """Compare this turn's answer with the last turn's and with what was sent."""
        assert answer.status == 200, answer.body
        found = _items.decode(answer.body)
        raws = [bytes(raw) for raw in _array.decode(found[self.session.array])]
        sent = self.session.body()[self.session.array]
        assert len(raws) == len(sent)
        for raw, original in zip(raws, sent, strict=True):
            assert _without_texts(json.loads(raw)) == _without_texts(original)
        plain = [_MARK.sub(b"", raw) for raw in raws]
        assert plain[: len(self.last)] == self.last
        self.last = plain
        self.transforms = answer.json["transforms_applied"]
        self.changed = sum(json.loads(raw) != one for raw, one in zip(raws, sent, strict=True))


def _without_texts(value: Any) -> Any:
    """Return a message with its texts left out: ids, marks, parts, and all other fields."""
    if isinstance(value, list):
        return [_without_texts(one) for one in value]
    if isinstance(value, dict):
        return {
            key: ""
            if key in ("content", "text", "output") and isinstance(one, str)
            else _without_texts(one)
            for key, one in value.items()
        }
    return value


def _play(session: Session, ask: Callable[[dict[str, Any], int], Answer]) -> Answers:
    """Play a session through ``ask``, which gets each turn's body and number."""
    answers = Answers(session)
    for number in range(TURNS):
        session.turn()
        answers.take(ask(session.body(), number))
    assert answers.changed > 1
    return answers


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_begin_with_the_answer_before(farm: Farm, shape: str, seed: int) -> None:
    name = user()
    _play(Session(shape, seed), lambda body, _: farm.post(body, name))


@pytest.mark.parametrize("shape", SHAPES)
def test_options_changed_between_turns_change_nothing(farm: Farm, shape: str) -> None:
    name = user()
    options: list[dict[str, Any]] = [
        {},
        {"target_ratio": 0.3},
        {"min_tokens_to_compress": 100_000},
        {"protect_recent": 0},
        {"compress_user_messages": True},
    ]
    _play(Session(shape, 11), lambda body, turn: farm.post({**body, **options[turn % 5]}, name))


def test_result_answers_the_nearest_call_before(farm: Farm) -> None:
    body = {"messages": [], "model": "claude-x"}
    for command in ("cat a.py", "ls -l"):
        use = {"type": "tool_use", "id": "same", "name": "Bash", "input": {"command": command}}
        text = "\n".join(f"{command} printed line {n}" for n in range(60))
        answer = {"type": "tool_result", "tool_use_id": "same", "content": text}
        body["messages"] += [  # type: ignore[operator]
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [answer]},
        ]
    name = user()
    traced = farm.post(body, name)
    assert traced.status == 200
    again = {**body, "messages": [*body["messages"], {"role": "user", "content": "go on"}]}
    assert farm.post(again, name).json["messages"][:4] == traced.json["messages"]
