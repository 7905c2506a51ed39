"""Tokens: scopes, separation of tenants, no secret in any output; and listening on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.http import auth as access
from shared import keys

from ..farm import Answer, Farm, post, request, user
from ..texts import conversation, events, ran

TENANTS = {
    "one": ("compress-token-0123456789", ["compress"], False),
    "two": ("retrieve-token-0123456789", ["retrieve"], False),
    "three": ("books-token-01234567890123", ["books"], False),
    "litellm": ("litellm-token-012345678901", ["compress", "retrieve"], False),
    "gateway": ("gateway-token-012345678901", ["compress", "retrieve"], True),
}
SECOND = "litellm-second-token-0123456"
PORTAL = "https://portal.example.com"
OPENS = {
    "compress": ["/v1/compress", "/v1/usage"],
    "retrieve": ["/v1/retrieve", "/v1/retrieve/abcdefabcdef", "/v1/retrieve/tool_call"],
    "books": [
        "/stats",
        "/stats/insights",
        "/stats-history",
        "/sessions",
        "/pricing",
        "/metrics",
        "/nowhere",
    ],
}
OPEN = ["/health", "/livez", "/readyz", "/openapi.json", "/", "/dashboard", "/static/x.js"]


class Bare(Farm):
    """A farm without ``HEADROOM_HOST``."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        return {k: v for k, v in super().environment.items() if k != "HEADROOM_HOST"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm that requires tokens and allows one origin."""
    directory = tmp_path_factory.mktemp("tokens")
    farm = Bare(
        directory,
        tokens_file=directory / "tokens.json",
        trusted_peers="10.0.0.0/8",
        cors_origins=PORTAL,
        pricing_dsn="postgresql://reader:pricing-secret-01234@127.0.0.1:1/none",
    )
    write(farm)
    try:
        yield farm.start(gpu=0)
    finally:
        farm.stop()


def write(farm: Farm) -> None:
    entries: list[dict[str, Any]] = [
        {"tenant": name, "token": token, "scopes": scopes, "trusted": trusted}
        for name, (token, scopes, trusted) in TENANTS.items()
    ]
    digest = hashlib.sha256(SECOND.encode()).hexdigest()
    entries.append({"tenant": "litellm", "sha256": digest, "scopes": ["compress", "retrieve"]})
    path = farm.directory / "tokens.json"
    path.write_text(json.dumps(entries))


def headers(tenant: str, name: str = "") -> dict[str, str]:
    given = {"authorization": f"Bearer {TENANTS[tenant][0]}", "content-type": "application/json"}
    return {**given, "x-maas-username": name} if name else given


def ask(farm: Farm, path: str, given: dict[str, str]) -> int:
    posted = path.replace("//", "/").startswith("/v1/") and not path.endswith("abcdefabcdef")
    body = b'{"messages":[]}' if posted else None
    return request(farm.url, "POST" if posted else "GET", path, body, given).status


@pytest.mark.parametrize("tenant", TENANTS)
def test_scope_opens_only_its_endpoints(guarded: Farm, tenant: str) -> None:
    scopes = TENANTS[tenant][1]
    for scope, paths in OPENS.items():
        for path in paths:
            status = ask(guarded, path, headers(tenant))
            assert (status == 403) == (scope not in scopes), (path, status)
            assert status != 401
            assert ask(guarded, f"/{path}", headers(tenant)) == status, "two slashes open more"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong-token-0123456789"},
        {"authorization": f"Basic {TENANTS['one'][0]}"},
        {"authorization": TENANTS["one"][0]},
        {"authorization": f"Bearer {TENANTS['one'][0].upper()}"},
        {"authorization": f"Bearer {TENANTS['one'][0]}, Bearer {TENANTS['two'][0]}"},
        {"authorization": f"Bearer {hashlib.sha256(SECOND.encode()).hexdigest()}"},
        {"authorization": "Bearer caf\xe9-0123456789abcdef"},
        {"x-api-key": TENANTS["one"][0]},
        {"cookie": f"token={TENANTS['one'][0]}"},
        {"x-forwarded-for": "10.0.0.1", "x-maas-username": "ada"},
    ],
)
def test_without_token_only_probes_and_page_open(guarded: Farm, given: dict[str, str]) -> None:
    for path in [p for paths in OPENS.values() for p in paths]:
        assert ask(guarded, path, {"content-type": "application/json", **given}) == 401, path
    for path in OPEN:
        assert ask(guarded, path, given) in (200, 404, 503), path
    assert ask(guarded, f"/v1/compress?token={TENANTS['one'][0]}", given) in (401, 405)


def test_preflight_needs_no_token(guarded: Farm) -> None:
    wanted = {"origin": PORTAL, "access-control-request-method": "GET"}
    preflight = request(guarded.url, "OPTIONS", "/stats", None, wanted)
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == PORTAL
    refused = request(guarded.url, "GET", "/stats", None, {"origin": PORTAL})
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == PORTAL, "the page cannot tell why"


def compressed(farm: Farm, seed: str, given: dict[str, str]) -> str:
    answer = post(farm.url, conversation(ran(events(seed))), given)
    digest: str = answer.json["ccr_hashes"][0]
    return digest


def retrieved(farm: Farm, digest: str, given: dict[str, str]) -> Answer:
    return request(farm.url, "GET", f"/v1/retrieve/{digest}", None, given)


def test_user_name_cannot_cross_tenants(guarded: Farm) -> None:
    plain = compressed(guarded, user(), headers("litellm"))
    adas = compressed(guarded, user(), headers("litellm", "ada"))
    for digest, owner, names in (
        (plain, "litellm", ["litellm", "litellm/", "/litellm", "litellm/litellm"]),
        (adas, "litellm/ada", ["litellm/ada", "ada", "/litellm/ada", "//litellm/ada"]),
    ):
        assert guarded.redis.exists(keys.original(keys.user_tag(owner), digest))
        for name in names:
            assert retrieved(guarded, digest, headers("gateway", name)).status == 404, name
    own = compressed(guarded, user(), headers("gateway", "litellm/ada"))
    assert retrieved(guarded, own, headers("litellm", "ada")).status == 404
    assert retrieved(guarded, own, headers("gateway", "litellm/ada")).status == 200
    second = {**headers("litellm"), "authorization": f"Bearer {SECOND}"}
    assert retrieved(guarded, plain, second).status == 200, "two tokens, one tenant"


def test_secrets_appear_in_no_output(guarded: Farm) -> None:
    path = guarded.directory / "tokens.json"
    good = path.read_text()
    path.write_text(good[:-2] + ', "oops": 1}]')
    for tenant in TENANTS:
        assert ask(guarded, "/v1/compress", headers(tenant)) in (200, 403), "the last good file"
    write(guarded)
    seen = []
    for asked in [p for paths in OPENS.values() for p in paths] + OPEN:
        for given in (headers("one"), headers("three"), {}):
            got = request(guarded.url, "GET", f"{asked}?t={TENANTS['one'][0]}", None, given)
            seen.append(got.body.decode("utf-8", "replace") + str(got.headers))
    seen += [log.read_text("utf-8", "replace") for log in guarded.directory.glob("*.log")]
    assert "tokens_file_refused" in seen[-1] + seen[-2] + seen[-3]
    seen += [_command(pid) for part in guarded.parts for pid in [part.pid, *part.children()]]
    password = guarded.redis_url.split(":")[2].split("@")[0]
    secrets = [token for token, _, _ in TENANTS.values()]
    for secret in [*secrets, SECOND, password, "pricing-secret-01234"]:
        assert len(secret) > 10
        assert not any(secret in text for text in seen), secret


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_listens_on_loopback_by_default(guarded: Farm) -> None:
    assert "HEADROOM_HOST" not in guarded.environment
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if address.endswith(f":{guarded.port:04X}") and state == "0A":
                found.append(address.split(":")[0])
    assert found == ["0100007F"]


def test_token_comparison_takes_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.json"
    given = [
        {"tenant": f"t{i}", "token": f"token-number-{i:04d}-012345", "scopes": []} for i in range(5)
    ]
    path.write_text(json.dumps(given))
    tokens = access.Tokens(path)
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(access, "hmac", type("", (), {"compare_digest": staticmethod(compare)}))
    for asked in ("token-number-0000-012345", "token-number-0004-012345", "x", "token-number-0000"):
        compared.clear()
        tokens.find(asked)
        assert compared == [(32, 32)] * 5, asked
