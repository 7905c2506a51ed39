"""Which outputs count as shortened and as asked back: each once, in its first request."""

from __future__ import annotations

import asyncio
from typing import Any

from api.pipeline.compressor import Compressor
from api.pipeline.dispatch_jobs import Fetched, Origin
from api.runtime.retrieval_feedback import scope_of
from shared.deadline import Deadline
from shared.jobs import Form
from shared.policy.rules import Rule
from shared.policy.ruling import Policy
from shared.policy.tool_rules import paused

from ..texts import call, events, result
from .test_compressor import Elsewhere, _body, _compressor

SHORT = "\n".join(f"line {i}" for i in range(40))


class Shortening(Elsewhere):
    """Pools whose results are shortened by the engine ``log``."""

    async def fetch(self, order: Any, wanted: Any, make: Any, deadline: Deadline) -> Fetched:
        found = await super().fetch(order, wanted, make, deadline)
        for key in found.forms:
            digest = key[:24]
            made = Form(SHORT, ("router:tool_result:log",), (digest,), (digest,), "compressed")
            found.forms[key] = self.finished[key] = made
        return found


def _ran(command: str, identity: str, text: str) -> list[dict[str, Any]]:
    return [call("Bash", {"command": command}, identity), result(text, identity)]


FIRST = [{"role": "user", "content": "go"}, *_ran("make a", "a", events("a"))]
AGAIN = [*FIRST, *_ran("make a", "b", "nothing new")]
SHORTENED = ("shortened", "log", "Bash")
BACK = ("back", "log", "Bash")


async def _ask(compressor: Compressor, messages: list[Any]) -> Any:
    return await compressor.compress("t/u", _body(messages), Deadline.after(60), Origin("id"))


def test_outputs_count_once_when_sent_repeatedly() -> None:
    async def play() -> None:
        elsewhere = Shortening()
        one, two = _compressor(elsewhere), _compressor(elsewhere)
        for compressor in (one, one, two):  # again, and on another replica
            await _ask(compressor, FIRST)
        assert elsewhere.fed == [SHORTENED]

    asyncio.run(play())


def test_repeated_call_counts_for_the_shortening_engine() -> None:
    async def play() -> None:
        elsewhere = Shortening()
        one = _compressor(elsewhere)
        for messages in (FIRST, AGAIN, AGAIN):
            await _ask(one, messages)
        assert elsewhere.fed == [SHORTENED, BACK]
        later = [*AGAIN, *_ran("make c", "c", "short")]
        await _ask(one, later)
        assert elsewhere.fed == [SHORTENED, BACK]

    asyncio.run(play())


def test_repeated_call_of_whole_output_is_not_counted() -> None:
    async def play() -> None:
        elsewhere = Elsewhere()
        compressor = _compressor(elsewhere)
        await _ask(compressor, FIRST)
        await _ask(compressor, AGAIN)
        assert elsewhere.fed == []

    asyncio.run(play())


def test_audit_and_control_give_no_feedback() -> None:
    async def play() -> None:
        for rule in (Rule("r", mode="audit"), Rule("r", share=0.0)):
            elsewhere = Shortening()
            compressor = _compressor(elsewhere)
            compressor._policy.source.policy = Policy([rule])
            for messages in (FIRST, AGAIN):
                await (await _ask(compressor, messages)).behind
            assert elsewhere.fed == []

    asyncio.run(play())


def test_pause_affects_only_new_outputs() -> None:
    async def play() -> None:
        elsewhere = Shortening()
        one, two = _compressor(elsewhere), _compressor(elsewhere)
        first = await _ask(one, FIRST)
        elsewhere.pauses = (("log", "Bash"),)
        more = [*FIRST, *_ran("make b", "b", events("b"))]
        done = len(elsewhere.done)
        answers = [await _ask(compressor, more) for compressor in (one, two)]
        assert len(elsewhere.done) == done + 1  # one new block, made without the engine
        for answer in answers:
            assert b"".join(answer.pieces).startswith(b"".join(first.pieces))
        elsewhere.pauses = ()
        again = await _ask(_compressor(elsewhere), more)
        assert again.pieces == answers[0].pieces

    asyncio.run(play())


def test_scope_is_tenant_or_all_without_tenant() -> None:
    assert [scope_of(name) for name in ("t/u", "t/v/w", "u", "playground\tp\tt/u", "/t")] == [
        "t", "t", "", "t", "",
    ]  # fmt: skip


def test_pauses_have_one_serialization() -> None:
    assert paused(paused("", (("log", "Bash"),)), ()) == ""
