"""Over a quota new messages are sent unchanged, and earlier ones stay as they were sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from api.pipeline.compressor import Compressor
from api.pipeline.dispatch_jobs import Origin
from shared.deadline import Deadline
from shared.policy.rules import Limits, Quota, Rule

from .test_compressor import ROWS, Elsewhere, _body, _messages, _other, _ran
from .test_policy_arms import _under

RULE = Rule("r", quota=Quota(Limits(tokens=1000)))
FIRST = _ran(ROWS)
SECOND = [*FIRST, *_ran(_other("x"), identity="b")]
THIRD = [*SECOND, *_ran(_other("y"), identity="c")]


async def _ask(compressor: Compressor, messages: list[Any]) -> Any:
    answer = await compressor.compress("u", _body(messages), Deadline.after(60), Origin("id"))
    await asyncio.gather(*compressor._left_texts._noting)
    return answer


def test_first_request_over_quota_stays_verbatim() -> None:
    async def play() -> None:
        elsewhere = Elsewhere()
        elsewhere.over_quota = "user"
        body = _body(FIRST)
        answer = await _under(elsewhere, RULE).compress("u", body, Deadline.after(60), Origin("id"))
        assert b"".join(answer.pieces) in body
        assert answer.degraded == ["quota"]
        assert "farm:verbatim:quota" in answer.transforms
        assert answer.reason == "quota"
        assert elsewhere.done == []

    asyncio.run(play())


def test_later_turn_over_quota_keeps_sent_messages() -> None:
    async def play() -> None:
        elsewhere = Elsewhere()
        one, two = _under(elsewhere, RULE), _under(elsewhere, RULE)
        first = _messages(await _ask(one, FIRST))
        assert first != FIRST
        elsewhere.over_quota = "tenant"
        done = list(elsewhere.done)
        second = _messages(await _ask(two, SECOND))  # a replica that has seen nothing yet
        assert second == first + SECOND[2:]
        assert elsewhere.done == done
        elsewhere.over_quota = ""
        for replica in (one, two):  # what was sent verbatim stays verbatim
            third = _messages(await _ask(replica, THIRD))
            assert third[:4] == second
            assert third[4:] != THIRD[4:]

    asyncio.run(play())


def test_charges_only_messages_not_sent_before() -> None:
    async def play() -> None:
        elsewhere = Elsewhere()
        one, two = _under(elsewhere, RULE), _under(elsewhere, RULE)
        whole = (await _ask(one, FIRST)).tokens_before
        again = await _ask(two, FIRST)  # on a replica that does not know it
        more = await _ask(two, SECOND)
        assert elsewhere.charged[0] + 3 >= whole > 0  # conversations have an overhead
        assert elsewhere.charged[1] == 0
        assert elsewhere.charged[2] == more.tokens_before - again.tokens_before

    asyncio.run(play())


def test_rule_without_quota_charges_nobody() -> None:
    async def play() -> None:
        elsewhere = Elsewhere()
        elsewhere.over_quota = "user"
        answer = await _ask(_under(elsewhere, Rule("r")), FIRST)
        assert elsewhere.charged == []
        assert answer.tokens_saved > 0

    asyncio.run(play())


def test_audit_is_charged_without_being_reported() -> None:
    async def play() -> None:
        elsewhere = Elsewhere()
        elsewhere.over_quota = "user"
        audited = Rule("r", mode="audit", quota=RULE.quota)
        answer = await _ask(_under(elsewhere, audited), FIRST)
        assert answer.degraded == []
        would = await answer.behind
        assert would.degraded == ["quota"]
        assert len(elsewhere.charged) == 1
        assert json.loads(b"[" + b",".join(answer.pieces) + b"]") == FIRST

    asyncio.run(play())
