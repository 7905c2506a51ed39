"""A stand-in for a model provider on loopback: it keeps every request and plays a script.

It speaks Anthropic Messages and OpenAI Responses, streaming and not, and reports usage by the
prompt-cache rules of the model. Turn k is answered with step k of the script, later ones
with a text. No request leaves the machine.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.prompt_cache_rules import Usage

from .prompt_cache import Session, session_of

Body = dict[str, Any]
Call = tuple[str, dict[str, Any]]
_OUTPUT_TOKENS = 5


class Provider:
    """The stand-in; a context that stops it. ``bodies`` are the requests to the model."""

    def __init__(self, script: Sequence[Call] = ()) -> None:
        self.bodies: list[Body] = []
        self._script = list(script)
        self._step = 0
        self._session: Session | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Provider:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def forget(self) -> None:
        """Begin a new session: nothing is cached, no request is kept."""
        with self._lock:
            self.bodies, self._session, self._step = [], None, 0

    def answer(self, path: str, body: Body) -> tuple[bytes, str]:
        """Return the answer to a request to the model, and its content type."""
        with self._lock:
            self.bodies.append(body)
            if self._session is None:
                self._session = session_of(str(body.get("model")))
            usage = self._session.turn(body)
            call = None
            if body.get("tools") and self._step < len(self._script):
                call = self._script[self._step]
                self._step += 1
            number = len(self.bodies)
        if "/messages" in path:
            return _anthropic(body, call, number, usage)
        return _responses(body, call, number, usage)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                return

            def _reply(self, status: int, data: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_HEAD(self) -> None:
                self._reply(200, b"")

            def do_GET(self) -> None:
                self._reply(200, b'{"data":[],"models":[]}')

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("content-encoding") == "gzip":
                    raw = gzip.decompress(raw)
                if "count_tokens" in self.path:
                    return self._reply(200, b'{"input_tokens": 1000}')
                if "/messages" in self.path or "/responses" in self.path:
                    return self._reply(200, *provider.answer(self.path, json.loads(raw)))
                return self._reply(404, b"{}")

        return Handler


def _events(events: list[Body]) -> bytes:
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


def _anthropic(body: Body, call: Call | None, number: int, usage: Usage) -> tuple[bytes, str]:
    told = {
        "input_tokens": round(usage.uncached),
        "cache_creation_input_tokens": round(usage.written + usage.written_1h),
        "cache_read_input_tokens": round(usage.read),
        "output_tokens": _OUTPUT_TOKENS,
    }
    text: Body = {"type": "text", "text": "All done."}
    block = text
    if call:
        block = {"type": "tool_use", "id": f"toolu_{number:04d}", "name": call[0], "input": call[1]}
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [block],
        "stop_reason": "tool_use" if call else "end_turn",
        "stop_sequence": None,
        "usage": told,
    }
    if not body.get("stream"):
        return json.dumps(message).encode(), "application/json"
    delta: Body = {"type": "text_delta", "text": "All done."}
    if call:
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
    empty = {**block, "input": {}} if call else {**text, "text": ""}
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    start = {**message, "content": [], "stop_reason": None}
    events: list[Body] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": _OUTPUT_TOKENS}},
        {"type": "message_stop"},
    ]
    return _events(events), "text/event-stream"


def _responses(body: Body, call: Call | None, number: int, usage: Usage) -> tuple[bytes, str]:
    item: Body = {
        "type": "message",
        "id": f"msg_{number}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "All done.", "annotations": []}],
    }
    if call:
        item = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{number}",
            "name": call[0],
            "arguments": json.dumps(call[1]),
            "status": "completed",
        }
    total = round(usage.total)
    response = {
        "id": f"resp_{number}",
        "object": "response",
        "status": "completed",
        "model": body.get("model"),
        "output": [item],
        "usage": {
            "input_tokens": total,
            "input_tokens_details": {"cached_tokens": round(usage.read)},
            "output_tokens": _OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": total + _OUTPUT_TOKENS,
        },
    }
    if not body.get("stream"):
        return json.dumps(response).encode(), "application/json"
    created = {**response, "status": "in_progress", "output": []}
    events: list[Body] = [
        {"type": "response.created", "response": created},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
    return _events(events), "text/event-stream"
