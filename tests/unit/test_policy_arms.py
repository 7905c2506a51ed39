"""Audited and control conversations: returned unchanged, at once, with the same sums as ``on``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from api.accounting.usage_record import AnsweredRequest, UsageRecord
from api.accounting.usage_recording import AnswerBook
from api.pipeline import after_answer
from api.pipeline.compression_result import CompressionResult
from api.pipeline.compressor import Compressor
from api.pipeline.dispatch_jobs import Fetched, Origin
from shared.deadline import Deadline
from shared.errors import Degraded, InvalidField
from shared.policy.rules import Rule
from shared.policy.ruling import Policy

from ..texts import conversation, events, ran, rows
from .test_compressor import MARK, Elsewhere, _body, _compressor
from .test_request_cost import OPUS

TURNS = 6


class Held(Elsewhere):
    """Pools that start only when released."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def fetch(self, *given: Any) -> Fetched:
        await self.let.wait()
        return await super().fetch(*given)


class Book:
    """A stand-in for ledger and prices that stores the entries."""

    def __init__(self) -> None:
        self.entries: list[UsageRecord] = []

    def record(self, entry: UsageRecord) -> None:
        self.entries.append(entry)

    def price_of(self, model: str) -> Any:
        return OPUS


def _bodies() -> list[bytes]:
    """Return the requests of a growing session: several kinds of outputs, one of them twice."""
    texts = [events("a"), rows("b"), events("a"), rows("c"), events("d"), rows("b")]
    body = conversation(*[ran(text, f"c{i}") for i, text in enumerate(texts)])
    bodies = []
    for turn in range(TURNS):
        messages = json.loads(json.dumps(body["messages"][: 3 + 2 * turn]))
        messages[-1]["content"][-1] |= MARK  # on the newest, as Claude Code does
        bodies.append(_body(messages))
    return bodies


def _under(elsewhere: Elsewhere, *rules: Rule) -> Compressor:
    compressor = _compressor(elsewhere)
    compressor._policy.source.policy = Policy(rules)
    return compressor


async def _played(
    compressor: Compressor, bodies: Sequence[bytes]
) -> tuple[list[CompressionResult], list[CompressionResult | None]]:
    """Send requests in order; return the answers, and the results of the background work."""
    answers = []
    for body in bodies:
        answers.append(await compressor.compress("u", body, Deadline.after(60), Origin("id")))
    return answers, [await a.behind if a.behind is not None else None for a in answers]


def _sums(answer: CompressionResult | None) -> Any:
    assert answer is not None
    parts = (answer.tokens_before, answer.tokens_after, answer.cache, answer.transforms)
    return (*parts, answer.engines, answer.hashes, b"".join(answer.pieces))


def test_audit_has_same_sums_as_on() -> None:
    async def play() -> None:
        real, _ = await _played(_under(Elsewhere(), Rule("r")), _bodies())
        answers, would = await _played(_under(Elsewhere(), Rule("r", mode="audit")), _bodies())
        assert [_sums(one) for one in would] == [_sums(one) for one in real]
        assert real[-1].tokens_saved > 0
        for body, answer in zip(_bodies(), answers, strict=True):
            assert (
                json.loads(b"[" + b",".join(answer.pieces) + b"]") == json.loads(body)["messages"]
            )
            assert (answer.tokens_saved, answer.hashes, answer.degraded) == (0, [], [])
            assert answer.transforms == ["farm:policy:audit"]

    asyncio.run(play())


def test_audited_requests_wait_for_no_pool() -> None:
    """Every request is answered before a pool starts, and the sums equal those of ``on``."""

    async def play() -> None:
        real, _ = await _played(_under(Elsewhere(), Rule("r")), _bodies())
        held = Held()
        compressor = _under(held, Rule("r", mode="audit"))
        answers = [
            await compressor.compress("u", body, Deadline.after(60), Origin("id"))
            for body in _bodies()
        ]
        assert all(a.behind is not None and not a.behind.done() for a in answers)
        held.let.set()
        would = [await a.behind if a.behind is not None else None for a in answers]
        assert [_sums(one) for one in would] == [_sums(one) for one in real]
        assert not compressor.behind.waiting

    asyncio.run(play())


def test_control_is_sent_unchanged_and_counted() -> None:
    async def play() -> None:
        bodies = _bodies()
        real, _ = await _played(_under(Elsewhere(), Rule("r")), bodies)
        elsewhere = Elsewhere()
        answers, counted = await _played(_under(elsewhere, Rule("r", share=0.0)), bodies)
        assert elsewhere.done == []
        for body, answer, found, on in zip(bodies, answers, counted, real, strict=True):
            assert b"".join(answer.pieces) in body
            assert found is not None
            assert found.filed is not None
            assert found.filed.arm == "control"
            assert found.tokens_before == found.tokens_after == on.tokens_before
            assert found.cache is not None
            assert on.cache is not None
            assert found.cache.read_after == found.cache.read_before == on.cache.read_before
            assert found.cache.new_after == found.cache.new_before == on.cache.new_before

    asyncio.run(play())


def test_control_session_is_same_in_every_process() -> None:
    async def play() -> None:
        rule = Rule("r", share=50.0)
        arms = set()
        for question in range(12):
            seen = set()
            for _ in range(2):
                compressor = _under(Elsewhere(), rule)
                for length in (1, 3):
                    messages = [
                        {"role": "system", "content": "the same for all"},
                        {"role": "user", "content": f"question {question}", **MARK},
                        *ran("x"),
                    ][:length]
                    answer = await compressor.compress(
                        "u", _body(messages), Deadline.after(60), Origin("id")
                    )
                    assert answer.filed is not None
                    if length > 1:
                        seen.add(answer.filed.arm)
            assert len(seen) == 1
            arms |= seen
        assert arms == {"on", "control"}

    asyncio.run(play())


def test_off_is_neither_read_nor_recorded() -> None:
    async def play() -> None:
        (answer,), _ = await _played(_under(Elsewhere(), Rule("r", mode="off")), _bodies()[-1:])
        assert answer.transforms == ["farm:policy:off"]
        assert answer.filed is None
        assert answer.behind is None

    asyncio.run(play())


def test_invalid_option_is_refused_in_every_mode() -> None:
    body = _body([], mode="nonsense")

    async def play() -> None:
        for rule in (Rule("r", mode="audit"), Rule("r", share=0.0), Rule("r", mode="off")):
            asked = _under(Elsewhere(), rule).compress("u", body, Deadline.after(60), Origin("id"))
            with pytest.raises(InvalidField):
                await asked

    asyncio.run(play())


def _recorded(answers: Sequence[CompressionResult]) -> list[UsageRecord]:
    """Record answers; return the records in order, after all background work."""
    book = Book()
    books = AnswerBook(book, book, book)  # type: ignore[arg-type, unused-ignore]
    for number, answer in enumerate(answers):
        books.record(AnsweredRequest(str(number), "u", 0.001), answer)
    return book.entries


async def _trials(rule: Rule) -> tuple[list[UsageRecord], dict[str, int]]:
    compressor = _under(Elsewhere(), rule)
    book = Book()
    books = AnswerBook(book, book, book)  # type: ignore[arg-type, unused-ignore]
    for number, body in enumerate(_bodies()):
        answer = await compressor.compress("u", body, Deadline.after(60), Origin("id"))
        books.record(AnsweredRequest(str(number), "u", 0.001), answer)
        await asyncio.gather(*books._following)
    total: dict[str, int] = {}
    for entry in book.entries:
        for name, amount in (entry.trial.amounts if entry.trial else {}).items():
            total[name] = total.get(name, 0) + amount
    return book.entries, total


def test_ledger_separates_audited_from_real_cost() -> None:
    async def play() -> None:
        _, on = await _trials(Rule("r"))
        entries, audit = await _trials(Rule("r", mode="audit"))
        assert audit == on
        assert on["with"] < on["without"]
        _, control = await _trials(Rule("r", share=0.0))
        assert control["with"] == control["without"] == on["without"]
        last = {entry.answer: entry for entry in entries}  # later ones replace earlier ones
        assert len(last) == TURNS
        for entry in last.values():
            row = dict(entry.row)
            assert row["before"] == row["after"]
            assert "saved" not in row
            assert row["n:policy_audit"] == "1"
            assert dict(entry.detail) == {}
        assert sum(int(dict(e.row)["before"]) for e in last.values()) == on["before"]

    asyncio.run(play())


def test_full_backlog_answers_and_counts_as_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(after_answer, "MOST_REQUESTS", 0)

    async def play() -> None:
        entries, total = await _trials(Rule("r", mode="audit"))
        assert len(entries) == TURNS
        assert (total["requests"], total["unread"]) == (TURNS, TURNS)
        assert "with" not in total

    asyncio.run(play())


def test_defect_in_background_work_spares_the_answer() -> None:
    class Defective(Elsewhere):
        async def fetch(self, *given: Any) -> Fetched:
            raise RuntimeError("a defect")

    async def play() -> None:
        compressor = _under(Defective(), Rule("r", mode="audit"))
        answers, would = await _played(compressor, _bodies())
        assert all(answer.degraded == [] for answer in answers)
        for one in would:  # as under ``on``
            assert one is not None
            assert one.degraded == ["internal"]

    asyncio.run(play())


def test_cancelled_work_leaves_the_first_record() -> None:
    async def play() -> None:
        held = Held()
        compressor = _under(held, Rule("r", mode="audit"))
        answer = await compressor.compress("u", _bodies()[0], Deadline.after(60), Origin("id"))
        (entry,) = _recorded([answer])
        assert dict(entry.row)["requests"] == "1"
        behind_it = answer.behind
        assert behind_it is not None
        behind_it.cancel()
        await asyncio.gather(behind_it, return_exceptions=True)
        assert not compressor.behind.waiting

    asyncio.run(play())


@pytest.mark.parametrize("before", [Rule("r", mode="audit"), Rule("r", share=0.0)])
@pytest.mark.parametrize("same", [True, False], ids=["process", "replica"])
def test_included_running_conversation_keeps_sent_messages(before: Rule, same: bool) -> None:
    """It was sent unchanged; compressing it now would invalidate the provider's cache."""

    async def play() -> None:
        elsewhere, bodies = Elsewhere(), _bodies()
        compressor = _under(elsewhere, before)
        await _played(compressor, bodies[:3])
        if not same:
            compressor = _under(elsewhere, before)
        compressor._policy.source.policy = Policy([Rule("r")])
        (answer,), _ = await _played(compressor, bodies[3:4])
        sent, came = json.loads(b"[" + b",".join(answer.pieces) + b"]"), json.loads(bodies[3])
        assert sent[:7] == came["messages"][:7]
        assert sent[7:] != came["messages"][7:]

    asyncio.run(play())


def test_excluded_conversation_stays_verbatim_at_once() -> None:
    async def play() -> None:
        bodies = _bodies()
        compressor = _under(Elsewhere(), Rule("r"))
        await _played(compressor, bodies[:3])
        compressor._policy.source.policy = Policy([Rule("r", share=0.0)])
        answers, counted = await _played(compressor, bodies[3:5])
        for body, answer in zip(bodies[3:5], answers, strict=True):
            assert b"".join(answer.pieces) in body
        for one in counted:
            assert one is not None
            assert one.tokens_after == one.tokens_before

    asyncio.run(play())


@pytest.mark.parametrize(
    ("rule", "mode"),
    [
        (Rule("r", mode="off"), ""),
        (Rule("r", mode="audit"), ""),
        (Rule("r", markers="none"), "marker-free"),
        (Rule("r"), "ccr"),
    ],
)
@pytest.mark.parametrize("step", ["split", "turn"])
@pytest.mark.parametrize("fault", [Degraded("deadline"), ZeroDivisionError()])
def test_faults_keep_to_the_policys_mode(
    monkeypatch: pytest.MonkeyPatch, rule: Rule, mode: str, step: str, fault: Exception
) -> None:
    """The proxy offers tools by the mode: a fault that changed it would change the prefix."""
    compressor = _under(Elsewhere(), rule)

    async def fail(*arguments: Any) -> None:
        raise fault

    monkeypatch.setattr(compressor._reading, step, fail)
    asked = compressor.compress(
        "u", _bodies()[0], Deadline.after(9), Origin("id"), redeems=True, session="s"
    )
    answer = asyncio.run(asked)
    assert answer.mode == mode
    assert answer.tokens_saved == 0
