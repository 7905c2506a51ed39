"""Who may send a request through the proxy, and to which paths: tokens, preflights, odd paths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ..farm import Farm, post, request
from .scripted import ScriptedProvider, whole
from .test_passing import BODY, KEY

TOKEN = "farm-token-0123456789"
PAGE = "https://page.example"
OURS = {"x-headroom-token": TOKEN, **KEY}


@pytest.fixture(scope="module")
def guarded(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A proxy that requires a token and lets the pages of one origin read answers."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens = directory / "tokens.json"
    tokens.write_text(json.dumps([{"tenant": "team", "token": TOKEN, "scopes": ["compress"]}]))
    urls = ("anthropic_target_api_url", "openai_target_api_url")
    settings: dict[str, Any] = dict.fromkeys(urls, provider.url)
    with Farm(directory, **settings, tokens_file=tokens, cors_origins=PAGE) as farm:
        farm.start_redis()
        farm.start_api()
        yield farm


def test_options_needs_a_token(guarded: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({"ok": 1}))
    for headers in ({}, {"origin": PAGE}, {"access-control-request-method": "GET"}):
        answer = request(guarded.url, "OPTIONS", "/v1/models", headers={**KEY, **headers})
        assert answer.status == 401
    bearer = {"authorization": f"Bearer {TOKEN}", **KEY}
    assert request(guarded.url, "OPTIONS", "/v1/models", headers=bearer).status == 200
    assert [asked.method for asked in provider.asked] == ["OPTIONS"]
    assert "authorization" not in provider.asked[0].headers


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/models", f"/t/{TOKEN}/v1/messages"])
def test_preflight_is_answered_by_the_farm(
    guarded: Farm, provider: ScriptedProvider, path: str
) -> None:
    provider.will_say(whole({"leaked": True}))
    wanted = {"access-control-request-method": "POST", "authorization": f"Bearer {TOKEN}"}
    answer = request(guarded.url, "OPTIONS", path, headers={"origin": PAGE, **wanted})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    other = request(guarded.url, "OPTIONS", path, headers={"origin": "https://b.example", **wanted})
    assert "access-control-allow-origin" not in other.headers
    assert not provider.asked


def test_farm_token_sent_twice_stays_in_the_farm(guarded: Farm, provider: ScriptedProvider) -> None:
    provider.will_say(whole({"ok": 1}))
    both = {**OURS, "authorization": f"Bearer {TOKEN}"}
    assert post(guarded.url, BODY, both, "/v1/messages").status == 200
    assert TOKEN not in json.dumps(provider.asked[0].headers)


@pytest.mark.parametrize(
    ("path", "array"), [("/responses", "input"), ("/chat/completions", "messages")]
)
def test_short_path_needs_the_scope_of_the_long_one(
    guarded: Farm, provider: ScriptedProvider, path: str, array: str
) -> None:
    provider.will_say(whole({"ok": 1}))
    body = {"model": "gpt-x", array: BODY["messages"]}
    assert post(guarded.url, body, KEY, path).status == 401
    assert post(guarded.url, body, OURS, path).status == 200
    assert [asked.path for asked in provider.asked] == [f"/v1{path}"]


HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=m", "/v1/messages"])
def test_websocket_handshake_is_refused_after_authentication(
    guarded: Farm, provider: ScriptedProvider, path: str
) -> None:
    provider.will_say(whole({"leaked": True}))
    assert request(guarded.url, "GET", path, headers={**KEY, **HANDSHAKE}).status == 401
    refused = request(guarded.url, "GET", path, headers={**OURS, **HANDSHAKE})
    assert refused.status == 426
    assert refused.json["error"]["type"] == "invalid_request_error"
    assert request(guarded.url, "GET", "/livez", headers=HANDSHAKE).status == 200
    assert not provider.asked
    assert "Unhandled" not in guarded.logs()


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        (f"/t//{TOKEN}/v1/messages", "/v1/messages"),
        (f"//t/{TOKEN}//v1//messages", "/v1/messages"),
        (f"/t/{TOKEN[:-1]}%39/v1/messages", "/v1/messages"),
        (f"/%74/{TOKEN}/v1/messages", ""),
        (f"/t%2F{TOKEN}/v1/messages", ""),
        (f"/t/%2F{TOKEN}/v1/messages", ""),
        (f"/t/{TOKEN}%2Fv1/messages", ""),
        (f"/t/{TOKEN}/%761/messages", ""),
    ],
)
def test_token_in_path_never_reaches_the_provider(
    guarded: Farm, provider: ScriptedProvider, path: str, arrives: str
) -> None:
    provider.will_say(whole({"ok": 1}))
    answer = post(guarded.url, BODY, KEY, path)
    assert answer.status == (200 if arrives else 404 if "%761" in path else 400)
    assert [asked.path for asked in provider.asked] == ([arrives] if arrives else [])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../x",
        "/v1/files/..",
        "/v1/files/./x",
        "/v1/%2e%2e/x",
        "/v1/.%2E/x",
        "/v1/files/..%2f..%2fx",
        "/v1/..\\x",
        "/v1/..%5cx",
    ],
)
def test_dot_segments_are_not_forwarded(proxy: Farm, provider: ScriptedProvider, path: str) -> None:
    provider.will_say(whole({"leaked": True}))
    assert request(proxy.url, "GET", path, headers=KEY).status == 404
    assert not provider.asked


@pytest.mark.parametrize("path", ["/v1/files/a..b", "/v1/files/...", "/v1/files/.x/a%2Fb"])
def test_dots_in_names_are_forwarded(proxy: Farm, provider: ScriptedProvider, path: str) -> None:
    provider.will_say(whole({"ok": True}))
    assert request(proxy.url, "GET", path, headers=KEY).status == 200
    assert provider.asked[0].path == path
