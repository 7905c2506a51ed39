"""A front end's memory is limited per user and over all users."""

from __future__ import annotations

import asyncio
import json

import pytest

from api.pipeline.conversation import Conversation, Sent
from api.pipeline.dispatch_jobs import Origin
from api.pipeline.fold.references import Source
from api.pipeline.message import Message, chained, digest
from api.pipeline.session_memory import Session, Sessions
from api.pipeline.split_body import split
from shared.deadline import Deadline
from shared.errors import RequestError
from shared.jobs import Form
from shared.policy.rules import Rule
from shared.policy.ruling import Policy

from .test_compressor import BODY, MESSAGES, Elsewhere, _compressor


def _body(count: int, size: int = 1000) -> bytes:
    items = b",".join(b'{"n":%d,"x":"%s"}' % (i, b"x" * size) for i in range(count))
    return b'{"messages":[' + items + b"]}"


def _remember(sessions: Sessions, user: str, body: bytes) -> None:
    session = sessions.of(user)
    taken = split(body, session.trails)
    messages = [seen.facts for seen in taken.known]
    chains = [seen.chain for seen in taken.known]
    for raw in taken.rest:
        facts = Message(digest(raw), len(raw), "user", {}, (), "", None, {})
        session.remember_message(facts)
        messages.append(facts)
        chains.append(chained(chains[-1] if chains else b"", facts.digest))
    session.remember_trail(taken, messages, chains, [b""] * len(chains))
    sessions.settle(session)


def _chains(*names: str) -> list[bytes]:
    chains: list[bytes] = []
    for name in names:
        chains.append(chained(chains[-1] if chains else b"", digest(name.encode())))
    return chains


def _send(session: Session, chains: list[bytes], seed: object = "") -> Conversation:
    """Answer a turn of a conversation."""
    found = session.conversation(seed, chains)
    shared = found.shared_with(chains)
    found.cut(shared)
    for chain in chains[shared:]:
        found.append(chain, Sent())
    return found


def test_least_recently_used_user_is_forgotten_first() -> None:
    sessions = Sessions(max_users=3, max_bytes=10**9)
    for user in ("a", "b", "c"):
        _remember(sessions, user, _body(2))
    _remember(sessions, "a", _body(3))
    _remember(sessions, "d", _body(2))
    assert len(sessions) == 3
    assert sessions.of("a").trails
    assert not sessions.of("b").trails


def test_tenant_with_many_users_forgets_its_own() -> None:
    sessions = Sessions(max_users=20, max_bytes=10**9)
    for user in ("acme/ann", "acme/bob", "single"):
        _remember(sessions, user, _body(2))
    for number in range(500):
        _remember(sessions, f"greedy/{number}", _body(1))

    assert len(sessions) == 20
    assert all(sessions.of(user).trails for user in ("acme/ann", "acme/bob", "single"))
    assert sessions.of("greedy/499").trails


def test_tenant_with_heavy_users_forgets_its_own() -> None:
    sessions = Sessions(max_users=1000, max_bytes=400_000)
    for user in ("acme/ann", "single"):
        _remember(sessions, user, _body(20))
    for number in range(100):
        _remember(sessions, f"greedy/{number}", _body(40))

    assert sessions._total <= 400_000
    assert sessions.of("acme/ann").trails
    assert sessions.of("single").trails


def test_bytes_are_bounded_over_and_within_users() -> None:
    sessions = Sessions(max_users=1000, max_bytes=200_000)
    for number in range(50):
        _remember(sessions, f"user-{number}", _body(20))
        assert sessions._total <= 200_000
    for count in range(1, 400, 7):
        _remember(sessions, "one", _body(count))
        assert sessions._total <= 600_000  # a single body may exceed the limit


def test_evicted_sessions_leave_nothing_in_the_account() -> None:
    sessions = Sessions(max_users=6, max_bytes=60_000)
    late = sessions.of("late/user")
    for number in range(60):
        name = f"{number % 3}/{number % 9}" if number % 2 else f"alone-{number}"
        _remember(sessions, name, _body(number % 7 + 1))
        late.remember_form(f"key {number}", Form("x" * 100))
        sessions.settle(late)  # its request outlives it
        left = [sessions._sessions[user] for user in sessions._sessions]
        assert sessions._total == sum(one.cost for one in left)
        tenants = {one.user.partition("/")[0] for one in left}
        assert sessions._tenants.keys() == tenants
        assert sum(sessions._tenant_costs.values()) == sessions._total
        assert +sessions._tenant_costs == {
            tenant: sum(one.cost for one in left if one.user.partition("/")[0] == tenant)
            for tenant in tenants
        }


def test_shrinking_forgets_which_originals_were_renewed() -> None:
    sessions = Sessions(max_users=10, max_bytes=2000)
    sessions.of("a").refreshed["ab" * 6] = 1.0
    _remember(sessions, "a", _body(9))
    assert not sessions.of("a").refreshed


@pytest.mark.parametrize("answer", ["compressed", "left by the policy", "refused"])
def test_memory_is_bounded_whatever_is_answered(answer: str) -> None:
    compressor = _compressor(Elsewhere())
    compressor.sessions = Sessions(max_users=10, max_bytes=10**9)
    if answer == "left by the policy":
        compressor._policy.source.policy = Policy((Rule("nobody", mode="off"),))
    body = json.dumps({"messages": 1}).encode() if answer == "refused" else BODY

    async def ask() -> None:
        for number in range(30):
            name = f"user-{number}"
            try:
                made = await compressor.compress(name, body, Deadline.after(60), Origin("id"))
            except RequestError:
                assert answer == "refused"
            else:
                came = json.loads(b"[" + b",".join(made.pieces) + b"]") == MESSAGES
                assert came is (answer == "left by the policy")

    asyncio.run(ask())
    assert len(compressor.sessions) == 10


def test_conversation_has_one_trail_and_user_several() -> None:
    sessions = Sessions(max_users=10, max_bytes=10**9)
    for count in range(1, 10):
        _remember(sessions, "a", _body(count))
    assert len(sessions.of("a").trails) == 1
    for number in range(40):
        _remember(sessions, "a", b'{"messages":[{"talk":%d}]}' % number)
    assert len(sessions.of("a").trails) == 16


def test_body_sent_again_keeps_its_trail() -> None:
    sessions = Sessions(max_users=10, max_bytes=10**9)
    _remember(sessions, "a", _body(5))
    _remember(sessions, "a", b'{"messages":[{"talk":1}]}')
    first = sessions.of("a").trails[0]
    _remember(sessions, "a", _body(5))
    assert sessions.of("a").trails[1] is first
    assert len(sessions.of("a").trails) == 2


def test_message_read_again_replaces_the_trail() -> None:
    session = Session("a")
    for size in (0, 1):  # first there was no time to read it
        taken = split(_body(1), session.trails)
        facts = Message(b"name", size, "user", {}, (), "", None, {})
        session.remember_trail(taken, [facts], [b"chain"], [b""])
    assert [trail.seen[0].facts.size for trail in session.trails] == [1]


def test_messages_read_before_are_found_in_a_body() -> None:
    sessions = Sessions(max_users=10, max_bytes=10**9)
    assert sessions.read_before("a", _body(3)) == (0, 0)
    assert len(sessions) == 0  # asking makes no session, as with the bypass on
    _remember(sessions, "a", _body(3))
    longer = _body(5)
    start, end = sessions.read_before("a", longer)
    assert longer[start:end] == _body(3)[len(b'{"messages":[') : -len(b"]}")]
    changed = longer.replace(b'"n":2', b'"n":7')
    start, end = sessions.read_before("a", changed)
    assert changed[start:end].count(b'"n"') == 2
    assert sessions.read_before("a", b'{"model":"m",' + longer[1:]) == (0, 0)


def test_forms_are_charged_to_their_user() -> None:
    sessions = Sessions(max_users=10, max_bytes=100_000)
    session = sessions.of("a")
    for number in range(100):
        session.remember_form(str(number), Form("x" * 10_000))
        sessions.settle(session)
    assert sessions._total <= 100_000
    assert len(session.forms) < 12


def test_sent_messages_count_towards_the_limit() -> None:
    sessions = Sessions(max_users=10, max_bytes=2_000_000)
    session = sessions.of("a")
    for number in range(100):
        chains = _chains(f"first {number}", "second")
        conversation = session.conversation("", chains)
        conversation.append(chains[0], Sent(data=b"x" * 100_000))
        lines = "".join(f"line {number} {i}\n" for i in range(500))
        conversation.index.add(Source(f"call-{number}", "run"), lines)
        before = session.cost
        sessions.settle(session)
        assert before > 200_000
        assert sessions._total <= 2_000_000
    assert 0 < len(session.conversations) < 16


def test_growing_conversation_is_found_again() -> None:
    session = Session("a")
    first = _send(session, _chains("a", "b"))
    assert _send(session, _chains("a", "b", "c", "d")) is first
    assert first.chains == _chains("a", "b", "c", "d")


def test_mode_makes_another_conversation() -> None:
    session = Session("a")
    assert _send(session, _chains("a", "b"), "ccr") is not _send(
        session, _chains("a", "b", "c"), "marker-free"
    )


def test_removing_newest_message_keeps_the_conversation() -> None:
    session = Session("a")
    first = _send(session, _chains("a", "b", "c", "d"))
    assert _send(session, _chains("a", "b", "x")) is first
    assert first.chains == _chains("a", "b", "x")


def test_conversations_that_begin_alike_stay_separate() -> None:
    session = Session("a")
    names = [str(n) for n in range(20)]
    main = _send(session, _chains(*names))
    side = _send(session, _chains(*names[:5], "another"))
    assert side is not main
    assert len(main.chains) == 20
    assert [one is other for one, other in zip(side.sent, main.sent, strict=False)][:5] == [
        True
    ] * 5
    assert _send(session, _chains(*names, "next")) is main
    assert _send(session, _chains(*names[:5], "another", "next")) is side


def test_short_beginning_in_common_makes_no_conversation_the_same() -> None:
    session = Session("a")
    main = _send(session, _chains("a", "b", "c", "d", "e"))
    side = _send(session, _chains("a", "x"))
    assert side is not main
    assert main.chains == _chains("a", "b", "c", "d", "e")


def test_oldest_conversation_of_a_user_is_forgotten() -> None:
    session = Session("a")
    made = [_send(session, _chains(f"talk {number}")) for number in range(20)]
    assert session.conversations == made[-16:]
