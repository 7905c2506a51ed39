"""Server-sent events as bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_encode = msgspec.json.Encoder().encode
MOST_BYTES = 16 * 1024 * 1024
"""Maximum size of one event; larger ones are forwarded without being parsed."""


class Framer:
    """Splits a stream's chunks into events, each including the blank line after it."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the complete events; the incomplete next one stays in ``rest``."""
        events = []
        searched = max(0, len(self.rest) - 3)
        whole = self.rest + chunk if self.rest else chunk
        start = 0
        while found := _END.search(whole, max(start, searched)):
            events.append(whole[start : found.end()])
            start = found.end()
        self.rest = whole[start:]
        if len(self.rest) > MOST_BYTES:
            events.append(self.rest)
            self.rest = b""
        return events


def data_of(event: bytes) -> bytes:
    """Return an event's data, empty if it has none."""
    if event.startswith(b"data:") and event.count(b"\n") == 2 and event.endswith(b"\n\n"):
        return event[5:-2].strip()
    found = [line[5:].removeprefix(b" ") for line in event.splitlines() if line[:5] == b"data:"]
    return b"\n".join(found)


def with_data(event: bytes, data: Any) -> bytes:
    """Return the event with ``data``, encoded as JSON, as its data; its other fields are kept."""
    kept = [line for line in event.splitlines() if line and line[:5] != b"data:"]
    return b"".join([*[line + b"\n" for line in kept], b"data: ", _encode(data), b"\n\n"])
