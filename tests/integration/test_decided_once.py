"""Every turn's answer begins with the previous turn's answer, whatever happens in between.

Sessions are generated in the formats that agents send. Answers are compared byte for byte, except
for cache marks, which the client moves.
"""

from __future__ import annotations

import json
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from deploy.ports import free_port
from shared import keys

from ..farm import Answer, Farm, Process, post, request, until, user
from ..texts import events, prose, rows

MARK = {"type": "ephemeral"}
_MARK = re.compile(rb',\s*"cache_control":\s*\{[^{}]*\}')
_items = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
SHAPES = ("claude", "chat", "responses")
TURNS = 8


class Session:
    """An agent's conversation that grows turn by turn, in one of the formats."""

    def __init__(self, shape: str, seed: int) -> None:
        self.shape = shape
        self._random = random.Random(f"{shape} {seed}")
        self._seed = f"{shape}{seed}"
        self._made = 0
        self._source = [f"    value_{n} = compute({n}, {seed})  # {shape}" for n in range(90)]
        self.items: list[dict[str, Any]] = []
        self.say("what is wrong with the build")

    @property
    def array(self) -> str:
        """The field that holds the conversation."""
        return "input" if self.shape == "responses" else "messages"

    def body(self, **options: Any) -> dict[str, Any]:
        """Return the request of this turn, with the newest message marked as by Claude Code."""
        items: list[dict[str, Any]] = json.loads(json.dumps(self.items))
        if self.shape == "claude" and isinstance(items[-1]["content"], list):
            items[-1]["content"][-1]["cache_control"] = MARK
        return {self.array: items, "model": "claude-x", **options}

    def turn(self, *texts: str) -> None:
        """Add tool calls and their results; random texts unless ``texts`` are given."""
        printed = list(texts) or [self._text() for _ in range(self._random.choice([1, 1, 2, 3]))]
        # A client may reuse an id: a result belongs to the nearest preceding call.
        again = not texts and self._made and self._random.random() < 0.2
        first = self._made - 1 if again else self._made
        self._made = first + len(printed)
        names = [f"call_{first + n}" for n in range(len(printed))]
        commands = [f"make step-{self._random.randrange(5)}" for _ in printed]
        add = {"claude": self._claude, "chat": self._chat, "responses": self._response}[self.shape]
        add(names, commands, printed)
        if self._random.random() < 0.3:
            self.say(self._random.choice(["go on", "please review this code", "why"]))

    def say(self, text: str) -> None:
        """Add a user message."""
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
    """The answers of one session; each must begin with the previous one."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.last: list[bytes] = []
        self.transforms: list[str] = []
        self.changed = 0

    def take(self, answer: Answer) -> None:
        """Compare this turn's answer with the previous one, and with the request."""
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
    """Return a message without its texts: ids, marks, parts, and all other fields."""
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
    """Play a session through ``ask``, which is called with each turn's body and number."""
    answers = Answers(session)
    for number in range(TURNS):
        session.turn()
        answers.take(ask(session.body(), number))
    assert answers.changed > 1
    return answers


def _second(farm: Farm) -> str:
    """Start another front end, wait until it sees the workers, and return its address."""
    port = free_port()
    farm.start_api(port=port)
    url = f"http://127.0.0.1:{port}"
    _until_ready(url)
    return url


def _until_ready(url: str) -> None:
    """Wait until the front end sees a worker of each pool."""
    wanted = {"redis": "ok", "cpu_workers": 1, "gpu_workers": 1}

    def ready() -> bool:
        try:
            return bool(wanted.items() <= request(url, "GET", "/readyz").json["checks"].items())
        except OSError:
            return False

    until("the front end is ready", ready)


def _ask(url: str, body: dict[str, Any], name: str) -> Answer:
    return post(url, body, {"x-maas-username": name})


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


class Pair(NamedTuple):
    """A farm of two front ends, and the address of the second."""

    farm: Farm
    other: str


def _pair(directory: Path, **settings: Any) -> Iterator[Pair]:
    with Farm(directory, **settings) as farm:
        yield Pair(farm.start(), _second(farm))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two front ends with the usual settings."""
    yield from _pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two front ends with a queue of one block."""
    yield from _pair(tmp_path_factory.mktemp("crowded"), queue_max_blocks=1)


def _worker(farm: Farm, pool: str) -> Process:
    return next(part for part in farm.parts if part.log.name.startswith(f"worker-{pool}"))


@pytest.mark.parametrize("flush", [False, True])
def test_any_replica_gives_the_same_bytes(pair: Pair, flush: bool) -> None:
    farm, other = pair
    choose = random.Random(5)

    def ask(body: dict[str, Any], turn: int) -> Answer:
        gone = list(farm.redis.scan_iter(f"farm:{{u:{keys.user_tag(name)}}}:*"))
        if flush and gone:
            farm.redis.delete(*gone)
        return _ask(choose.choice([farm.url, other]), body, name)

    for shape in SHAPES:
        name = user()
        _play(Session(shape, 20), ask)


def test_restarted_front_end_gives_same_bytes(pair: Pair) -> None:
    farm = pair.farm
    front = next(part for part in farm.parts if part.log.name.startswith("api"))
    name = user()
    session = Session("claude", 22)
    answers = Answers(session)
    for number in range(TURNS):
        session.turn()
        if number == TURNS // 2:
            front.stop()
            farm.start_api()
            farm.until_ready()
        answers.take(farm.post(session.body(), name))


@pytest.mark.parametrize("shape", SHAPES)
def test_late_text_stays_verbatim_on_both_replicas(pair: Pair, shape: str) -> None:
    farm, other = pair
    worker = _worker(farm, "cpu")
    name = user()
    session, late = Session(shape, 30), rows("late")
    answers = Answers(session)
    session.turn(late)
    # The following text is so long that replacing the late text would cost more than it saves.
    session.say(prose("long") * 2)
    worker.signal(signal.SIGSTOP)
    answer = farm.post(session.body(), name, x_headroom_deadline_ms="1500")
    assert answer.json["degraded"] == ["deadline"]
    answers.take(answer)
    tag = keys.user_tag(name)
    until("the late text is noted", lambda: farm.redis.exists(keys.left(tag)))
    cached = farm.redis.hlen(keys.cache(tag))
    worker.signal(signal.SIGCONT)
    until("the late form is there", lambda: farm.redis.hlen(keys.cache(tag)) > cached)
    for url in (other, farm.url, other):
        session.turn()
        answers.take(_ask(url, session.body(), name))
    assert json.dumps(late).encode()[1:-1] in b"".join(answers.last)


@pytest.mark.parametrize("shape", SHAPES)
def test_overloaded_turn_stays_as_it_was(crowded: Pair, shape: str) -> None:
    farm, other = crowded
    worker = _worker(farm, "cpu")
    name = user()
    session = Session(shape, 40)
    answers = Answers(session)
    session.turn(rows("first"), events("first"))
    worker.signal(signal.SIGSTOP)
    waiting = Session(shape, 41)
    waiting.turn(rows("another user's"))
    farm.post(waiting.body(), user(), x_headroom_deadline_ms="1500")
    answers.take(farm.post(session.body(), name))
    worker.signal(signal.SIGCONT)
    assert "farm:verbatim:overload" in answers.transforms
    tag = keys.user_tag(name)
    until("the texts left are noted", lambda: farm.redis.exists(keys.left(tag)))
    for number, url in enumerate((other, farm.url, other)):
        session.turn(rows(f"later {number}"))
        until("the queue has room for its one block", lambda: not _jobs(farm))
        answers.take(_ask(url, session.body(), name))
    assert answers.changed


def _jobs(farm: Farm) -> int:
    """Return how many jobs of the cpu pool wait or are being done."""
    return farm.redis.llen(keys.queue("cpu")) + farm.redis.llen(keys.taken("cpu"))


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
