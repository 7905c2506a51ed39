"""A front end's memory is bounded, per user and over all of them."""

from __future__ import annotations

from api.pipeline.message import Message, digest
from api.pipeline.session_memory import Sessions
from api.pipeline.split import split
from shared.jobs import Form


def _body(count: int, size: int = 1000) -> bytes:
    items = b",".join(b'{"n":%d,"x":"%s"}' % (i, b"x" * size) for i in range(count))
    return b'{"messages":[' + items + b"]}"


def _remember(sessions: Sessions, user: str, body: bytes) -> None:
    session = sessions.of(user)
    taken = split(body, session.trails)
    messages = list(taken.known)
    for raw in taken.rest:
        messages.append(Message(digest(raw), len(raw), "user", {}, {}, (), "", None, {}))
        session.remember_message(messages[-1])
    session.remember_trail(taken, messages)
    sessions.settle(session)


def test_the_least_recently_used_user_is_forgotten_first() -> None:
    sessions = Sessions(max_users=3, max_bytes=10**9)
    for user in ("a", "b", "c"):
        _remember(sessions, user, _body(2))
    _remember(sessions, "a", _body(3))
    _remember(sessions, "d", _body(2))
    assert len(sessions) == 3
    assert sessions.of("a").trails
    assert not sessions.of("b").trails


def test_bytes_are_bounded_over_users_and_for_one() -> None:
    sessions = Sessions(max_users=1000, max_bytes=200_000)
    for number in range(50):
        _remember(sessions, f"user-{number}", _body(20))
        assert sessions.total_bytes <= 200_000
    for count in range(1, 400, 7):
        _remember(sessions, "one", _body(count))
        assert sessions.total_bytes <= 600_000  # one body may be over the bound by itself


def test_a_conversation_has_one_trail_and_a_user_several_conversations() -> None:
    sessions = Sessions(max_users=10, max_bytes=10**9)
    for count in range(1, 10):
        _remember(sessions, "a", _body(count))
    assert len(sessions.of("a").trails) == 1
    for number in range(40):
        _remember(sessions, "a", b'{"messages":[{"talk":%d}]}' % number)
    assert len(sessions.of("a").trails) == 16


def test_forms_are_charged() -> None:
    sessions = Sessions(max_users=10, max_bytes=100_000)
    session = sessions.of("a")
    for number in range(100):
        session.remember_form(str(number), Form("x" * 10_000))
        sessions.settle(session)
    assert sessions.total_bytes <= 100_000
    assert len(session.forms) < 12
