"""Hostile connections: slow ones, cut ones, and ambiguous requests."""

from __future__ import annotations

import json
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest

from ..farm import Farm, request, until, user
from ..texts import conversation, events, ran
from .conftest import MAX_CONNECTIONS, connections, enqueued
from .wire import connect, head, hear, say

EMPTY = b'{"messages":[]}'


def body() -> bytes:
    return json.dumps(conversation(ran(events(user())))).encode()


# ── slow and cut ────────────────────────────────────────────────────────────────────────


def test_slow_requests_end_without_delaying_others(target: Farm) -> None:
    long = head("POST", "/v1/compress", "content-length: 1000")
    begun = [b"", b"POST /v1/com", long[:-2] + b"x-slow: ", long, long + b'{"messages":[']
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(connect(target))) for _ in range(100)]
        for number, connection in enumerate(slow):
            connection.sendall(begun[number % len(begun)])
        for _ in range(5):
            assert target.post(body(), user()).json["degraded"] == []
        replies = [hear(connection) for connection in slow]
    assert [reply.status for reply in replies] == [0, 408, 408, 408, 408] * 20
    for reply in replies[1:5]:
        assert '{"error":{"type":"request_timeout"' in reply.text
        assert reply.header("x-content-type-options") == "nosniff"
    until("the connections are gone", lambda: not connections(target))


def test_trickling_does_not_extend_timeout(target: Farm) -> None:
    with closing(connect(target)) as connection:
        connection.sendall(head("POST", "/v1/compress", "content-length: 1000")[:-2] + b"x-slow: ")

        def ended() -> bool:
            try:
                connection.sendall(b"y")
                return bool(select.select([connection], [], [], 0)[0])
            except ConnectionError:
                return True

        until("it is ended", ended)


@pytest.mark.parametrize("early", [False, True])
def test_next_head_on_kept_connection_times_out(target: Farm, early: bool) -> None:
    whole = head("POST", "/v1/compress", f"content-length: {len(EMPTY)}") + EMPTY
    with closing(connect(target)) as connection:
        connection.sendall(whole + whole[:40] if early else whole)
        assert hear(connection).status == 200
        if not early:
            connection.sendall(whole[:40])
        assert hear(connection).status == 408


def test_drops_client_that_does_not_read(target: Farm) -> None:
    until("nobody else is connected", lambda: not connections(target))
    large = b'{"messages":[{"role":"user","content":"' + b"x" * (30 << 20) + b'"}]}'
    with closing(socket.socket()) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(60)
        deaf.connect(("127.0.0.1", target.port))
        deaf.sendall(head("POST", "/v1/compress", f"content-length: {len(large)}") + large)
        assert connections(target) == 1
        until("it was dropped", lambda: not connections(target))


def test_truncated_body_is_not_processed(target: Farm) -> None:
    until("earlier jobs are cleared away", lambda: not enqueued(target))
    model = f"model-of-{user()}"
    whole = json.dumps({**conversation(ran(events(user()))), "model": model}).encode()
    chunked = b"%x\r\n" % len(whole) + whole
    length, chunks = f"content-length: {len(whole) + 1}", "transfer-encoding: chunked"
    # Complete JSON does not mean a complete body: only the last chunk ends it.
    cut = [(length, whole), (chunks, chunked[:-9]), (chunks, chunked), (chunks, chunked + b"\r\n0")]

    def refused() -> int:
        found = target.get("/stats/farm").json["requests"]["refused"]
        return int(found.get("malformed_json", 0))

    def answered() -> int:
        return int(target.get(f"/stats?model={model}").json["summary"]["api_requests"])

    before = refused()
    for line, sent in cut:
        with closing(connect(target)) as connection:
            connection.sendall(head("POST", "/v1/compress", line) + sent)
            connection.shutdown(socket.SHUT_WR)
            assert hear(connection).status in (0, 400)
    with closing(connect(target)) as connection:
        connection.sendall(head("POST", "/v1/compress", chunks) + chunked + b"\r\n")
        assert hear(connection).status == 408
    until("all are recorded", lambda: refused() + answered() >= before + len(cut) + 1)
    assert answered() == 0
    assert not enqueued(target)


def test_closes_only_connections_beyond_limit(target: Farm) -> None:
    until("nobody else is connected", lambda: not connections(target))
    asked = head("GET", "/livez")
    with ExitStack() as stack:
        kept = []
        for _ in range(MAX_CONNECTIONS):
            kept.append(stack.enter_context(closing(connect(target))))
            kept[-1].sendall(asked)
        assert {hear(connection).status for connection in kept} == {200}
        for _ in range(10):
            assert say(target, asked).status == 0
        kept[0].sendall(asked)
        assert hear(kept[0]).status == 200
        kept[0].close()
        # Rejected connections do not count: one that closes makes room for exactly one.
        until("there is room again", lambda: say(target, asked).status == 200)


# ── ambiguous requests ──────────────────────────────────────────────────────────────────

SMUGGLED = b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"0\r\n\r\n"
AMBIGUOUS: dict[str, tuple[bytes, bytes]] = {
    "length and chunks": (
        head("POST", "/v1/compress", "content-length: 5", "transfer-encoding: chunked"),
        CHUNKED,
    ),
    "two lengths": (head("POST", "/v1/compress", "content-length: 5", "content-length: 6"), b"{}"),
    "a list of lengths": (head("POST", "/v1/compress", "content-length: 5, 5"), b"{}"),
    "a signed length": (head("POST", "/v1/compress", "content-length: +5"), b"{}"),
    "a negative length": (head("POST", "/v1/compress", "content-length: -1"), b"{}"),
    "a length in hex": (head("POST", "/v1/compress", "content-length: 0x5"), b"{}"),
    "a length of words": (head("POST", "/v1/compress", "content-length: five"), b"{}"),
    "a coding after chunked": (
        head("POST", "/v1/compress", "transfer-encoding: chunked, identity"),
        CHUNKED,
    ),
    "chunked twice": (head("POST", "/v1/compress", "transfer-encoding: chunked, chunked"), CHUNKED),
    "a space before the colon": (head("POST", "/v1/compress", "transfer-encoding : chunked"), b""),
    "a folded header": (head("POST", "/v1/compress", "x-a: b", " transfer-encoding: chunked"), b""),
    "a bare line feed": (b"POST /v1/compress HTTP/1.1\nhost: x\n\n", b"\r\n\r\n"),
    "a bad chunk size": (head("POST", "/v1/compress", "transfer-encoding: chunked"), b"zz\r\n"),
    "a signed chunk size": (head("POST", "/v1/compress", "transfer-encoding: chunked"), b"+2\r\n"),
    "a chunk longer than it says": (
        head("POST", "/v1/compress", "transfer-encoding: chunked"),
        b"2\r\n{}xx\r\n0\r\n\r\n",
    ),
    "two hosts": (head("POST", "/v1/compress", "host: y"), b""),
    "chunks in HTTP/1.0": (
        b"POST /v1/compress HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        CHUNKED,
    ),
    "an unknown coding": (head("POST", "/v1/compress", "transfer-encoding: cow"), CHUNKED),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b""),
    "another HTTP": (b"GET / HTTP/9.9\r\n\r\n", b""),
    "a NUL in a header": (head("POST", "/v1/compress", "x-maas-username: a\x00b"), b""),
    "a bare CR in a header": (head("POST", "/v1/compress", "x-maas-username: a\rx-b: c"), b""),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_rejects_ambiguous_request_and_closes_connection(target: Farm, name: str) -> None:
    first, rest = AMBIGUOUS[name]
    with closing(connect(target)) as connection:
        connection.sendall(first + rest + SMUGGLED)
        reply = hear(connection)
        assert reply.status in (400, 501, 505), reply.text
        assert reply.text.count("HTTP/1.1") == 1
        assert '"error"' in reply.text
        assert "api_requests" not in reply.text
        assert connection.recv(100) == b""


def test_rejects_absurd_content_length(target: Farm) -> None:
    for digits in (12, 100, 5000):
        line = "content-length: " + "9" * digits
        reply = say(target, head("POST", "/v1/compress", line) + b"{")
        assert reply.status in (400, 413), (digits, reply.text)


def test_rejects_many_or_huge_headers(target: Farm) -> None:
    assert say(target, head("GET", "/livez", "x-a: " + "b" * 9000)).status == 431
    assert say(target, head("GET", "/livez", *["x-a: b"] * 200)).status == 431
    assert say(target, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n").status == 414
    assert say(target, b"GET /" + b"a" * 20_000).status == 414


@pytest.mark.parametrize("method", ["HEAD", "TRACE", "PUT", "DELETE", "PATCH", "CONNECT", "FOO"])
def test_rejects_other_methods(target: Farm, method: str) -> None:
    got = request(target.url, method, "/v1/compress")
    assert got.status == (400 if method == "FOO" else 405)
    assert got.headers["x-content-type-options"] == "nosniff"
    assert b"Cookie" not in got.body


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v1/compress/",
        "/v1/compress%2f",
        "/v1/../stats",
        "/static/../stats",
        "/static/%2e%2e/%2e%2e/shared/settings.py",
        "/v1/retrieve/..%2f..%2fstats",
        "/%00",
        "/\xff".encode("latin-1").decode("latin-1").encode("unicode_escape").decode(),
        "/.git/config",
        "/v1/compress;x",
    ],
)
def test_unknown_paths_are_404(target: Farm, path: str) -> None:
    assert request(target.url, "GET", path).status == 404


def test_refusal_reaches_client_still_sending(target: Farm) -> None:
    large = b"x" * (70 << 20)
    reply = say(target, head("POST", "/v1/compress", f"content-length: {len(large)}"), large)
    assert reply.status == 413
    wrong = head("POST", "/v1/compress", f"content-length: {1 << 20}", kind="text/plain")
    assert say(target, wrong, large[: 1 << 20]).status == 415


def test_pipelined_requests_are_answered_in_order(target: Farm) -> None:
    one = head("POST", "/v1/compress", f"content-length: {len(EMPTY)}") + EMPTY
    with closing(connect(target)) as connection:
        connection.sendall(one + head("GET", "/livez"))
        assert hear(connection).status == 200


def test_answers_fifty_identical_concurrent_bodies(target: Farm) -> None:
    same = body()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: target.post(same, "one"), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers if not answer.json["degraded"]}) == 1
