"""A provider with scripted answers, plain and streamed: Chat Completions and Messages.

If the request has the tool, its model retrieves the original of the first marker, once; then it
answers :data:`SAID`.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SAID = "the build is fine"
_MARKER = re.compile(r"hash=([a-f0-9]{24})")
_TOOL = "headroom_retrieve"


class Provider(ThreadingHTTPServer):
    """Serves on a free port until :meth:`stop`; ``asked`` holds the received bodies by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Provider
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        self.server.asked.append((path, body))
        digest = _wanted(body)
        made = _message(body, digest) if path.endswith("/messages") else _completion(body, digest)
        if not body.get("stream"):
            self._send(json.dumps(made).encode(), "application/json")
            return
        events = _message_events(made) if path.endswith("/messages") else _chunks(made)
        self._send("".join(events).encode(), "text/event-stream")

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...


def _wanted(body: Any) -> str:
    """Return the hash to retrieve; empty if it was retrieved, cannot be, or there is none."""
    if _TOOL not in json.dumps(body.get("tools") or []) or '"r1"' in json.dumps(body["messages"]):
        return ""
    found = _MARKER.search(json.dumps(body["messages"]))
    return found[1] if found else ""


def _message(body: Any, digest: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": SAID}
    if digest:
        block = {"type": "tool_use", "id": "r1", "name": _TOOL, "input": {"hash": digest}}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [block],
        "stop_reason": "tool_use" if digest else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _completion(body: Any, digest: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": SAID}
    if digest:
        function = {"name": _TOOL, "arguments": json.dumps({"hash": digest})}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": "r1", "type": "function", "function": function}]
    why = "tool_calls" if digest else "stop"
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": why}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def _chunks(made: dict[str, Any]) -> list[str]:
    choice = made["choices"][0]
    delta = dict(choice["message"])
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": 0, **delta["tool_calls"][0]}]
    head = {key: made[key] for key in ("id", "created", "model")}
    parts = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {"choices": [], "usage": made["usage"]},
    ]
    written = [{**head, "object": "chat.completion.chunk", **part} for part in parts]
    return [*[f"data: {json.dumps(one)}\n\n" for one in written], "data: [DONE]\n\n"]


def _message_events(made: dict[str, Any]) -> list[str]:
    (block,) = made["content"]
    if block["type"] == "text":
        start, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        start = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    ended = {"stop_reason": made["stop_reason"], "stop_sequence": None}
    events = [
        {"type": "message_start", "message": {**made, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events]
