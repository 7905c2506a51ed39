"""The policy in the proxy: under audit, the provider receives exactly what the client sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ..farm import Farm, post, until
from ..texts import conversation, events, ran, rows

USAGE = {"input_tokens": 10, "output_tokens": 1}
REPLY = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "usage": USAGE,
    "content": [{"type": "text", "text": "done"}], "stop_reason": "end_turn",
}  # fmt: skip


class _Provider(BaseHTTPRequestHandler):
    """Answers every call with a short message, and stores the bodies that it receives."""

    sent: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.sent.append(body)
        answer = json.dumps(REPLY).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def provider() -> Iterator[tuple[str, list[bytes]]]:
    """A provider's address, and the bodies it received."""
    sent: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("P", (_Provider,), {"sent": sent}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()


def test_audit_forwards_original_and_records_result(
    own_farm: Callable[..., Farm],
    provider: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, sent = provider
    monkeypatch.setenv("ANTHROPIC_TARGET_API_URL", url)
    farm = own_farm()
    policy = farm.directory / "policy.toml"
    policy.write_text("[[rule]]\nname = 'seen'\nuser = 'ada'\nmode = 'audit'\n")
    farm.start_redis()
    farm.start_worker("cpu")
    farm.start_api(policy_file=policy)
    farm.until_ready(gpu=0)
    whole = conversation(ran(events("proxied")), ran(rows("proxied"), "b"))
    for end in (3, 5):
        body = {**whole, "messages": whole["messages"][:end], "max_tokens": 9}
        headers = {"x-maas-username": "ada", "anthropic-version": "2023-06-01", "x-api-key": "k"}
        answer = post(farm.url, body, headers, "/v1/messages")
        assert answer.status == 200
        assert json.loads(sent[-1]) == body
        assert answer.headers["x-headroom-tokens-saved"] == "0"

    def booked() -> Any:
        rules = farm.get("/stats/policy").json["rules"]
        found = rules[0]["groups"]["audit"] if rules else None
        return found if found and found["requests"] == 2 and found["total"]["tokens_came"] else None

    found = until("it is booked", booked)
    assert found["sessions"] == 1
    assert found["total"]["tokens_left"] < found["total"]["tokens_came"]
    assert farm.get("/stats").json["summary"]["compression"]["total_tokens_removed"] == 0
