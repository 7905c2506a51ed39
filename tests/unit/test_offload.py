"""The child process gives the same results as the event loop, within its limits."""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from api.pipeline import offload as module
from api.pipeline.message import count, digest, read
from api.pipeline.offload import Offload, TooHeavy
from api.pipeline.plan_message import ConversationPlanner
from api.pipeline.planning_context import ConversationContext
from api.pipeline.request_options import RequestOptions
from api.pipeline.split_body import MAX_MESSAGES, leave, split
from shared.deadline import Deadline
from shared.errors import BodyTooComplex, Degraded, InvalidField, MalformedBody
from shared.headroom import counter_for
from shared.settings import Settings

from ..texts import conversation, events, ran

ENDLESS = """
import re
from api.pipeline import offload_child
split = offload_child._TASKS["split"]
expression = re.compile("(x+x+)+y")
def endless(body):
    # 2**5000 steps without releasing the interpreter's lock: too slow on any machine.
    expression.match("x" * 5000 if b"endless" in body else "")
    return split(body)
offload_child._TASKS["split"] = endless
offload_child.main()
"""


Work = Callable[[Offload], Coroutine[Any, Any, Any]]
Run = Callable[[Work], Any]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run work with a shared offload, because its child process takes a second to start."""
    with asyncio.Runner() as runner:
        offload = Offload()
        yield lambda work: runner.run(work(offload))
        runner.run(offload.stop())


def soon() -> Deadline:
    return Deadline.after(60)


def tool_result(text: str) -> bytes:
    part = {"type": "tool_result", "tool_use_id": "a", "content": text}
    return msgspec.json.encode({"role": "user", "content": [part]})


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(conversation(ran(events("s")))).encode(),
        b'{"messages":[{"role":"user","content":"\\ud800"} , {}],"config":{"mode":"ccr"}}',
        b'{"messages":[]}',
    ],
)
def test_child_splits_body_like_main_process(run: Run, body: bytes) -> None:
    assert run(lambda offload: offload.split("u", body, soon())) == split(body, ())


def test_child_plans_message_like_main_process(run: Run) -> None:
    raw = tool_result(events("p"))
    counter, planner = counter_for("claude-x"), ConversationPlanner()
    facts, message = read(raw, digest(raw))
    count(facts, message, counter)
    options = RequestOptions("claude-x").plan_options(Settings())
    around = ConversationContext([facts], options, counter)
    plan, texts = planner.plan(around.of(0), facts, message)

    async def work(offload: Offload) -> None:
        assert await offload.read("u", raw, counter, soon()) == facts
        planned = await offload.plan("u", raw, around.of(0), soon())
        assert (planned.plan, planned.texts) == (plan, texts)
        assert texts

    run(work)


def test_marks_name_no_other_heavy_message(run: Run) -> None:
    marked = tool_result(events("p")).replace(
        b'"tool_use_id"', b'"cache_control":{"type":"ephemeral"},"tool_use_id"'
    )
    counter = counter_for("claude-x")

    async def work(offload: Offload) -> None:
        facts = await offload.read("u", marked, counter, soon())
        assert facts.digest == digest(tool_result(events("p")))

    run(work)


def test_child_reports_invalid_request(run: Run) -> None:
    async def work(offload: Offload) -> None:
        with pytest.raises(MalformedBody):
            await offload.split("u", b'{"messages":[', soon())
        with pytest.raises(InvalidField):
            await offload.read("u", b"[]", counter_for("m"), soon())

    run(work)


def test_task_beyond_its_time_ends_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        monkeypatch.setattr(module, "RESTART_SECONDS", 3600.0)
        offload = Offload([sys.executable, "-P", "-c", ENDLESS])
        with pytest.raises(TooHeavy):
            await offload.split("u", b'{"messages":["endless"]}', Deadline.after(3600))
        with pytest.raises(Degraded) as refused:
            await offload.split("v", b'{"messages":[]}', soon())
        assert not isinstance(refused.value, TooHeavy)
        monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)
        assert (await offload.split("v", b'{"messages":[]}', soon())).spans == []
        await offload.stop()

    asyncio.run(work())


def test_task_beyond_its_memory_is_too_heavy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b'{"messages":[{"role":"user","content":[' + b",".join([b'{"":0}'] * 6_000_000) + b"]}]}"

    async def work(offload: Offload) -> None:
        monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)
        with pytest.raises(TooHeavy):
            await offload.read("u", bomb[13:-2], counter_for("m"), soon())

    run(work)


def test_cancelled_task_does_not_affect_next_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.dumps(conversation(ran(events("first")))).encode()
    second = json.dumps(conversation(ran(events("second")))).encode()

    async def work(offload: Offload) -> None:
        monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)
        await offload.split("u", second, soon())  # the child has started
        with pytest.raises(Degraded):
            await offload.split("u", first, Deadline.after(0))
        impatient = asyncio.create_task(offload.split("u", first, soon()))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await offload.split("v", second, soon())).body == second

    run(work)


def test_one_user_runs_one_task_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[str] = []

    async def exchange(offload: Offload, name: str, arguments: tuple[Any, ...]) -> Any:
        served.append(arguments[0])
        await asyncio.sleep(0)
        return "done", module.OffloadTask(None, None, 0, module.array("q"), module.array("q"))  # type: ignore[arg-type]

    monkeypatch.setattr(Offload, "_exchange", exchange)

    async def work(offload: Offload) -> None:
        bodies = [(f"greedy{n}".encode(), "greedy") for n in range(5)] + [(b"other", "other")]
        await asyncio.gather(*[offload.split(user, body, soon()) for body, user in bodies])

    run(work)
    assert served.index(b"other") <= 1  # type: ignore[arg-type]
    assert len(served) == 6


def test_child_ends_when_its_pipe_closes() -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.pipeline.offload_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(60) == 0


def test_child_ends_endless_task_without_parent() -> None:
    child = subprocess.Popen([sys.executable, "-P", "-c", ENDLESS], stdin=subprocess.PIPE)
    with child:
        assert child.stdin is not None
        frame = pickle.dumps(("split", (b'{"messages":["endless"]}',)))
        child.stdin.write(module.LENGTH.pack(len(frame)) + frame)
        child.stdin.flush()  # its answer is not read, and no parent would kill it
        assert child.wait(60) == -signal.SIGALRM


def test_body_of_too_many_messages_stays_whole() -> None:
    inside = b",".join([b"{}"] * (MAX_MESSAGES + 1))
    body = b'{"model":"m","messages":[ ' + inside + b' ],"config":{"mode":"ccr"}}'
    with pytest.raises(Degraded):
        split(body, ())
    taken = leave(body)
    ((start, end),) = taken.spans
    assert body[start:end] == inside
    assert (taken.envelope.model, taken.envelope.config) == ("m", {"mode": "ccr"})
    assert leave(b'{"messages":[ ]}').spans == []
    with pytest.raises(InvalidField):
        leave(b'{"messages":5}')
    with pytest.raises(BodyTooComplex):
        leave(b'{"messages":' + b"[" * 100_000)
