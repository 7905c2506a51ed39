"""Security headers of every answer, by its kind, and lists that cannot add directives.

And whose word is taken for a user's name, and which headers concern one connection only.
"""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import pytest
from pydantic import ValidationError

from api.http.auth import Authenticator
from api.http.security_headers import SecurityHeaders, cross_origin
from api.proxy.headers import to_client
from shared.settings import Settings

PORTAL = "https://portal.example.com"


class Kinds:
    """An answer of each kind."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.media = {}

    async def on_get_page(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type, resp.text = falcon.MEDIA_HTML, "<!doctype html>"

    async def on_get_text(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type, resp.text = "text/plain", "text"


class Who:
    """Tells the user of a request."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.text = req.context.user


def client(**settings: Any) -> falcon.testing.TestClient:
    given = Settings(**settings)
    app = falcon.asgi.App()
    app.add_middleware([SecurityHeaders(given), *cross_origin(given)])
    app.add_route("/json", Kinds())
    app.add_route("/page", Kinds(), suffix="page")
    app.add_route("/text", Kinds(), suffix="text")
    return falcon.testing.TestClient(app)


@pytest.mark.parametrize("path", ["/json", "/text", "/nowhere", "/page"])
def test_every_answer_has_security_headers(path: str) -> None:
    got = client().simulate_get(path).headers
    assert got["x-content-type-options"] == "nosniff"
    assert got["referrer-policy"] == "no-referrer"
    assert got["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in got["content-security-policy"]
    if path != "/page":
        assert got["content-security-policy"].startswith("default-src 'none';")
    assert (got.get("cache-control") == "no-store") == (path in ("/json", "/nowhere"))
    assert "access-control-allow-origin" not in got


def test_page_policy_allows_no_inline_code() -> None:
    other = "https://farm.example.com:8443"
    asked = client(frame_ancestors=PORTAL, dashboard_origins=other)
    got = asked.simulate_get("/page").headers
    policy = got["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert f"frame-ancestors {PORTAL}" in policy
    assert f"connect-src 'self' {other};" in policy
    assert "x-frame-options" not in got
    assert PORTAL not in asked.simulate_get("/json").headers["content-security-policy"]


def test_only_listed_origins_may_read() -> None:
    asked = client(cors_origins=f"{PORTAL}, http://127.0.0.1:3000")
    allowed = asked.simulate_get("/json", headers={"origin": PORTAL}).headers
    assert allowed["access-control-allow-origin"] == PORTAL
    assert "access-control-allow-credentials" not in allowed
    other = asked.simulate_get("/json", headers={"origin": "https://evil.example"}).headers
    assert "access-control-allow-origin" not in other
    wanted = {"origin": PORTAL, "access-control-request-method": "GET"}
    assert asked.simulate_options("/json", headers=wanted).status_code == 200
    preflight = asked.simulate_options("/json", headers=wanted).headers
    assert preflight["access-control-allow-methods"] == "GET"


@pytest.mark.parametrize(
    "value", ["*", "null", f"{PORTAL}/", f"{PORTAL}; script-src *", f"{PORTAL} *", "javascript:x"]
)
def test_rejects_invalid_origin_at_start(value: str) -> None:
    for name in ("cors_origins", "dashboard_origins"):
        with pytest.raises(ValidationError):
            Settings(**{name: value})


@pytest.mark.parametrize("value", ["*", "'unsafe-inline'", "a.b; script-src *", "https:"])
def test_rejects_directives_in_framing_list(value: str) -> None:
    with pytest.raises(ValidationError):
        Settings(frame_ancestors=value)


@pytest.mark.parametrize(
    ("peer", "user"),
    [
        ("10.1.2.3", "ada"),
        ("::ffff:10.1.2.3", "ada"),
        ("fd00::7", "ada"),
        ("11.1.2.3", "anonymous"),
        ("::ffff:11.1.2.3", "anonymous"),
        ("unix:", "anonymous"),
    ],
)
def test_user_name_counts_from_a_trusted_peer_only(peer: str, user: str) -> None:
    trusted: Any = "10.0.0.0/8, fd00::/8"
    app = falcon.asgi.App()
    app.add_middleware([Authenticator(Settings(trusted_peers=trusted))])
    app.add_route("/who", Who())
    asked = falcon.testing.TestClient(app)
    named = {"x-maas-username": "ada"}
    assert asked.simulate_get("/who", headers=named, remote_addr=peer).text == user


def test_headers_of_the_providers_connection_end_at_the_farm() -> None:
    given = [("Connection", "X-Hop, close"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5")]
    assert to_client([*given, ("X-Note", "kept")], changed=False) == [("x-note", "kept")]
