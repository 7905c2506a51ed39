"""What the proxy passes on: bytes, headers and errors, in both directions."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pytest

from deploy.cli import _settings, parse
from deploy.ports import free_port

from ..farm import Farm, post, request, until, user
from ..texts import events as log
from .scripted import EVENTS, Said, ScriptedProvider, whole

BODY: dict[str, Any] = {"model": "claude-x", "messages": [{"role": "user", "content": "Hello"}]}
KEY = {"x-api-key": "sk-secret", "anthropic-version": "2023-06-01"}
EVENT = b'event: ping\ndata: {"type": "ping"}\n\n'


def turns(text: str) -> dict[str, Any]:
    """Return a Messages request with a large tool output, a few messages before its end."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "make"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": text}
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": "Look at the build."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": "It fails."},
        {"role": "user", "content": "Where?"},
    ]
    return {"model": "claude-x", "max_tokens": 9, "messages": talk, "tools": [{"name": "Bash"}]}


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages?beta=true", "/v1/chat/completions", "/v1/responses"]
)
def test_unchanged_body_arrives_as_the_bytes_sent(
    proxy: Farm, provider: ScriptedProvider, path: str
) -> None:
    array = "input" if "responses" in path else "messages"
    raw = b'{ "model":"m",\n "%b" : [ {"content":"\xc3\xa4 \\u00e4","role":"user"} ],"x": 1.50 }'
    provider.will_say(whole({"ok": True}))
    answer = post(proxy.url, raw % array.encode(), KEY, path)
    assert answer.status == 200
    assert provider.asked[0].body == raw % array.encode()
    assert provider.asked[0].path == path


@pytest.mark.parametrize("path", ["/responses", "/chat/completions", "//v1/chat/completions"])
def test_short_paths_reach_provider_under_v1(
    proxy: Farm, provider: ScriptedProvider, path: str
) -> None:
    provider.will_say(whole({"ok": True}))
    array = "input" if "responses" in path else "messages"
    assert post(proxy.url, {"model": "m", array: []}, path=path).status == 200
    assert provider.asked[0].path == "/v1/" + path.strip("/").removeprefix("v1/")


def test_tool_output_is_compressed_and_the_rest_is_not(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    provider.will_say(whole({"ok": True}), whole({"ok": True}))
    sent = turns(log())
    answer = post(proxy.url, sent, KEY, "/v1/messages")
    arrived = provider.asked[0].json
    assert len(provider.asked[0].body) < len(json.dumps(sent)) - 4000
    assert arrived["messages"][:2] == sent["messages"][:2]
    assert arrived["messages"][3:] == sent["messages"][3:]
    assert {k: v for k, v in arrived.items() if k not in ("messages", "tools")} == {
        k: v for k, v in sent.items() if k not in ("messages", "tools")
    }
    before, after, saved = (
        int(answer.headers[f"x-headroom-tokens-{name}"]) for name in ("before", "after", "saved")
    )
    assert before - after == saved > 0
    assert answer.headers["x-request-id"]
    post(proxy.url, sent, KEY, "/v1/messages/count_tokens")
    counted = provider.asked[1].json
    assert counted["messages"] == arrived["messages"]


def test_bypass_sends_the_original(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({"ok": True}))
    raw = json.dumps(turns(log())).encode()
    answer = post(proxy.url, raw, {**KEY, "x-headroom-bypass": "true"}, "/v1/messages")
    assert provider.asked[0].body == raw
    assert answer.headers["x-headroom-tokens-saved"] == "0"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages": 5}',
        b'{"messages": [5]}',
        b'{"messages": [], "messages": [{"role": "user"}]}',
        b'{"messages": [], "min_tokens_to_compress": "x"}',
        b'{"tools": 7, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "\xff", "messages": []}',
    ],
)
def test_unreadable_bodies_are_forwarded_unchanged(
    proxy: Farm, provider: ScriptedProvider, raw: bytes
) -> None:
    provider.will_say(whole({"ok": True}))
    answer = post(proxy.url, raw, KEY, "/v1/messages")
    assert provider.asked[0].body == raw
    assert answer.status in (200, 400)
    provider.broken.clear()


def test_encoded_bodies_are_read(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({"ok": True}))
    raw = json.dumps(turns(log())).encode()
    headers = {**KEY, "content-encoding": "gzip"}
    answer = post(proxy.url, gzip.compress(raw), headers, "/v1/messages")
    assert int(answer.headers["x-headroom-tokens-saved"]) > 0
    assert "content-encoding" not in provider.asked[0].headers
    assert len(provider.asked[0].body) < len(raw) - 4000


def test_forwards_keys_but_not_the_farms_headers(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({"ok": True}))
    ours = {
        "x-maas-username": user(),
        "x-headroom-user-id": "u",
        "x-headroom-session-id": "s",
        "x-headroom-deadline-ms": "500",
        "x-headroom-token": "not-a-secret",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "via": "1.1 gate",
        "x-real-ip": "10.0.0.1",
        "proxy-authorization": "Basic c2VjcmV0",
        "x-request-id": "mine",
        "connection": "x-hop",
        "x-hop": "1",
        "te": "trailers",
    }
    accented = "caf\u00e9".encode().decode("latin-1")  # as http.client writes it
    theirs = {**KEY, "authorization": "Bearer sk-2", "user-agent": "claude-cli/2"}
    theirs["x-app"] = accented
    answer = post(proxy.url, BODY, {**ours, **theirs}, "/v1/messages")
    arrived = provider.asked[0].headers
    assert theirs.items() <= arrived.items()
    assert not {*ours} - {"connection"} & {*arrived}
    assert answer.headers["x-request-id"] == "mine"


def test_answer_headers_come_back(proxy: Farm, provider: ScriptedProvider) -> None:
    limits = {"anthropic_ratelimit_requests_remaining": "7", "retry_after": "3"}
    more = {"x_note": "caf\u00e9", "etag": "v1", **limits}
    provider.will_say(whole({"ok": True}, x_request_id="req_1", **more))
    answer = post(proxy.url, BODY, KEY, "/v1/messages")
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "7"
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["etag"] == "v1"
    assert answer.headers["x-note"] == "caf\u00e9"
    assert answer.headers["x-headroom-upstream-request-id"] == "req_1"
    assert answer.headers["x-request-id"] != "req_1"


def test_cookies_stay_with_their_host(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({}, set_cookie="a=b"), whole({}, set_cookie="a=b"))
    for answer in (
        post(proxy.url, BODY, {**KEY, "cookie": "login=secret"}, "/v1/messages"),
        request(proxy.url, "GET", "/v1/models", headers={**KEY, "cookie": "login=secret"}),
    ):
        assert answer.status == 200
        assert "set-cookie" not in answer.headers
    assert all("cookie" not in asked.headers for asked in provider.asked)
    assert len(provider.asked) == 2


@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/plain"])
def test_provider_says_nothing_about_the_farms_host(
    proxy: Farm, provider: ScriptedProvider, kind: str
) -> None:
    """What a browser or a cache is told about an answer is what the farm tells of its own."""
    said = {
        "alt-svc": 'h3=":443"',
        "strict-transport-security": "max-age=31536000",
        "access-control-allow-origin": "*",
        "access-control-allow-credentials": "true",
        "x-headroom-tokens-saved": "1000000",
        "x-headroom-other": "x",
        "clear-site-data": "*",
        "content-security-policy-report-only": "default-src *",
        "permissions-policy": "camera=*",
    }
    replaced = {
        "cache-control": "max-age=60",
        "x-frame-options": "ALLOWALL",
        "content-security-policy": "default-src *",
        "cross-origin-resource-policy": "cross-origin",
    }
    length = {"content-length": "2", "content-type": kind}
    provider.will_say(Said([b"{}"], kind=kind, headers={**length, **said, **replaced}))
    headers = {**KEY, "origin": "https://page.example"}
    answer = request(proxy.url, "GET", "/v1/models", headers=headers)
    assert not said.keys() & answer.headers.keys()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    policy = answer.headers["content-security-policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 529])
def test_provider_errors_are_passed_on_unchanged(
    proxy: Farm, provider: ScriptedProvider, status: int
) -> None:
    error = b'{"type":"error", "error":{"type":"x","message":"y"}}'
    provider.will_say(whole(error, status, retry_after="9"))
    answer = post(proxy.url, BODY, KEY, "/v1/messages")
    assert (answer.status, answer.body) == (status, error)
    assert answer.headers["retry-after"] == "9"


def test_redirects_are_not_followed(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({}, 307, location=f"{provider.url}/v1/elsewhere"))
    answer = post(proxy.url, BODY, KEY, "/v1/messages")
    assert answer.status == 307
    assert len(provider.asked) == 1


def test_stream_comes_piece_by_piece_unchanged(proxy: Farm, provider: ScriptedProvider) -> None:
    go_on = threading.Event()
    pieces = [EVENT, EVENT[:9], EVENT[9:] + EVENT, b": comment\r\n\r\n", b"\xff\xfe no event"]
    provider.will_say(Said([pieces[0], go_on.wait, *pieces[1:]]))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=90)
    connection.request("POST", "/v1/messages", json.dumps({**BODY, "stream": True}), KEY_JSON)
    answer = connection.getresponse()
    assert answer.getheader("content-type") == EVENTS
    assert answer.read(len(EVENT)) == EVENT  # before the provider writes the next
    go_on.set()
    assert answer.read() == b"".join(pieces[1:])
    connection.close()


KEY_JSON = {**KEY, "content-type": "application/json"}


def test_other_paths_pass_with_any_method_and_body(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(*[whole({"n": n}) for n in range(4)])
    listed = request(proxy.url, "GET", "/v1/models?limit=3", headers=KEY)
    assert listed.json == {"n": 0}
    request(proxy.url, "DELETE", "/v1/files/a%2Fb", headers={"authorization": "Bearer sk"})
    form = b"--x\r\n\xff\x00binary\r\n--x--"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    request(proxy.url, "POST", "/v1/files", form, kind)
    request(proxy.url, "POST", "/v1/embeddings", b'{"messages": []}', kind)
    found = [(asked.method, asked.path) for asked in provider.asked]
    assert found == [
        ("GET", "/v1/models?limit=3"),
        ("DELETE", "/v1/files/a%2Fb"),
        ("POST", "/v1/files"),
        ("POST", "/v1/embeddings"),
    ]
    assert provider.asked[2].body == form
    assert provider.asked[2].headers["content-type"] == kind["content-type"]


def test_own_paths_never_reach_the_provider(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({"leaked": True}))
    for method, path in (
        ("GET", "/v1/compress"),
        ("GET", "/v1/compress/x"),
        ("GET", "/v1/retrieve/abc/def"),
        ("POST", "/v1/usage/x"),
        ("GET", "/v2/models"),
        ("GET", "/responses/x"),
    ):
        assert request(proxy.url, method, path).status in (404, 405)
    assert not provider.asked


def test_unset_provider_is_named_in_error(farm: Farm) -> None:
    for path, headers, variable in (
        ("/v1/messages", {}, "ANTHROPIC_TARGET_API_URL"),
        ("/v1/responses", {}, "OPENAI_TARGET_API_URL"),
        ("/v1/models", KEY, "ANTHROPIC_TARGET_API_URL"),
        ("/v1/models", {}, "OPENAI_TARGET_API_URL"),
    ):
        answer = post(farm.url, BODY, headers, path)
        assert answer.status == 404
        assert variable in answer.json["error"]["message"]


def test_unreachable_provider_is_502_in_its_own_shape(own_farm: Any) -> None:
    farm = own_farm(
        anthropic_target_api_url=f"http://127.0.0.1:{free_port()}/",
        openai_target_api_url=f"http://127.0.0.1:{free_port()}/v1",
    ).start(cpu=0, gpu=0)
    answer = post(farm.url, BODY, KEY, "/v1/messages")
    assert answer.status == 502
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "api_error"
    answer = post(farm.url, {"model": "m", "input": []}, path="/v1/responses")
    assert answer.status == 502
    assert answer.json["error"]["code"] == "upstream_unreachable"


def test_silent_provider_is_504(own_farm: Any, provider: ScriptedProvider) -> None:
    farm = own_farm(openai_target_api_url=provider.url, upstream_idle_seconds=1.5).start(
        cpu=0, gpu=0
    )
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        own = own_farm(
            openai_target_api_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            upstream_idle_seconds=1.5,
        ).start(cpu=0, gpu=0)
        answer = post(own.url, {"model": "m", "messages": []}, path="/v1/chat/completions")
    assert answer.status == 504
    assert answer.json["error"]["code"] == "upstream_timeout"
    provider.will_say(Said([EVENT, heard.wait]))
    connection = http.client.HTTPConnection("127.0.0.1", farm.port, timeout=90)
    connection.request("POST", "/v1/chat/completions", json.dumps(BODY), KEY_JSON)
    answer_head = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer_head.read()
    assert cut.value.partial == EVENT
    heard.set()
    connection.close()


@contextmanager
def serving(serve: Callable[[socket.socket, BinaryIO], None]) -> Iterator[str]:
    """Serve each connection in turn on a thread; yield the URL."""

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                serve(connection, reader)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def received(reader: BinaryIO) -> bytes:
    """Return a request's body, empty if the connection was closed."""
    size = 0
    while (line := reader.readline()) not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length"):
            size = int(line.split(b":")[1])
    return reader.read(size)


def test_connection_closed_as_it_is_used_again_fails_no_request(own_farm: Any) -> None:
    """The provider answers once on each connection, and closes it when the next request comes."""
    served = []

    def serve(connection: socket.socket, reader: BinaryIO) -> None:
        served.append(connection)
        received(reader)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        reader.readline()

    with serving(serve) as url:
        farm = own_farm(anthropic_target_api_url=url).start(cpu=0, gpu=0)
        answers = [post(farm.url, BODY, KEY, "/v1/messages").status for _ in range(4)]
        farm.stop()
    assert answers == [200] * 4
    assert len(served) == 4


@pytest.mark.parametrize("before", [0, 1], ids=["new", "reused"])
@pytest.mark.parametrize("works", ["a while", "and begins to answer"])
def test_request_that_the_provider_worked_on_is_not_sent_again(
    own_farm: Any, before: int, works: str
) -> None:
    """The provider answers ``before`` requests of a connection, and closes it during the next."""
    read = []

    def serve(connection: socket.socket, reader: BinaryIO) -> None:
        for number in range(before + 1):
            read.append(received(reader))
            if number < before:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            elif works == "a while":
                threading.Event().wait(1)
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")

    with serving(serve) as url:
        farm = own_farm(anthropic_target_api_url=url)
        farm.start_redis()
        farm.start_api()
        answers = [post(farm.url, BODY, KEY, "/v1/messages").status for _ in range(before + 1)]
    assert answers == [200] * before + [502]
    assert len([body for body in read if body]) == before + 1


def test_cut_answer_is_cut_for_the_client(proxy: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(Said([EVENT, EVENT[:7]], cut=True))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=90)
    connection.request("POST", "/v1/messages", json.dumps(BODY), KEY_JSON)
    with pytest.raises(http.client.IncompleteRead) as cut:
        connection.getresponse().read()
    assert cut.value.partial == EVENT + EVENT[:7]
    connection.close()
    provider.will_say(whole({"ok": True}))
    assert post(proxy.url, BODY, KEY, "/v1/messages").status == 200


def test_request_upstream_ends_with_its_client(proxy: Farm, provider: ScriptedProvider) -> None:
    left = threading.Event()

    def more() -> Any:
        for _ in range(100_000):
            yield EVENT
            if left.is_set():
                provider.gone.wait(0.01)

    provider.will_say(Said(more()))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=90)
    connection.request("POST", "/v1/messages", json.dumps(BODY), KEY_JSON)
    assert connection.getresponse().read(len(EVENT)) == EVENT
    left.set()
    connection.close()
    until("the upstream request ended", provider.gone.is_set)


def test_usage_of_all_answers_is_recorded(proxy: Farm, provider: ScriptedProvider) -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 3, "cache_read_input_tokens": 0}
    start = {"type": "message_start", "message": {"usage": {**usage, "output_tokens": 1}}}
    end = {"type": "message_delta", "usage": {"output_tokens": 3}}
    events = [b"event: x\ndata: " + json.dumps(e).encode() + b"\n\n" for e in (start, end)]
    cut = b"".join(events)
    who = user()
    headers = {**KEY, "x-maas-username": who}
    provider.will_say(whole({"usage": usage}), Said([cut[:50], cut[50:]]))
    for _ in range(2):
        assert post(proxy.url, BODY, headers, "/v1/messages").status == 200

    def booked() -> Any:
        rows = proxy.get(f"/stats?user={who}").json["summary"]
        return rows if rows["cost"].get("measured_requests") == 2 else None

    until("both are in the books", booked)


def test_farm_token_is_read_from_header_or_path(
    own_farm: Any, provider: ScriptedProvider, tmp_path: Any
) -> None:
    token = "farm-token-0123456789"
    tokens = tmp_path / "tokens.json"
    entry = {"tenant": "team", "token": token, "scopes": ["compress"]}
    tokens.write_text(json.dumps([entry]))
    farm = own_farm(anthropic_target_api_url=provider.url, tokens_file=tokens).start(cpu=0, gpu=0)
    provider.will_say(*[whole({"ok": n}) for n in range(4)])
    key = {"authorization": "Bearer sk-provider"}
    assert post(farm.url, BODY, key, "/v1/messages").status == 401
    assert post(farm.url, BODY, {**key, "x-headroom-token": "wrong"}, "/v1/messages").status == 401
    assert not provider.asked
    for headers, path in (
        ({**key, "x-headroom-token": token}, "/v1/messages"),
        (key, f"/t/{token}/v1/messages"),
        ({"x-api-key": "sk-a", "authorization": f"Bearer {token}"}, "/v1/messages"),
    ):
        assert post(farm.url, BODY, headers, path).status == 200
        assert provider.asked[-1].path == "/v1/messages"
        assert token not in json.dumps(provider.asked[-1].headers)
    assert [asked.headers.get("authorization") for asked in provider.asked] == [
        "Bearer sk-provider",
        "Bearer sk-provider",
        None,
    ]
    assert token not in farm.logs()
    assert "sk-provider" not in farm.logs()


def test_command_line_names_the_providers() -> None:
    chosen = parse(["up", "--anthropic-url", "https://a.example", "--openai-url", "http://o:1/v1"])
    settings = _settings(chosen)
    assert settings.anthropic_target_api_url == "https://a.example"
    assert settings.openai_target_api_url == "http://o:1/v1"
    assert settings.proxies
