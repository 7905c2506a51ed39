"""Server-sent events as bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_SEAM_BYTES = 3
"""One byte less than the longest blank line between events."""
_encode = msgspec.json.Encoder().encode
MOST_BYTES = 16 * 1024 * 1024
"""Maximum size of one event; larger ones are forwarded without being parsed."""


class Framer:
    """Splits a stream's chunks into events, each including the blank line after it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._seam = b""

    @property
    def rest(self) -> bytes:
        """The incomplete event at the end."""
        return b"".join(self._pieces)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the complete events; the incomplete next one stays in ``rest``."""
        events = []
        start = 0
        if self._pieces:  # only the new bytes are searched, and a blank line across the seam
            found = _END.search(self._seam + chunk)
            if found is None:
                return self._wait_for_more(chunk)
            start = found.end() - len(self._seam)
            events.append(b"".join([*self._pieces, chunk[:start]]))
            self._forget()
        while found := _END.search(chunk, start):
            events.append(chunk[start : found.end()])
            start = found.end()
        if start < len(chunk):
            events += self._wait_for_more(chunk[start:])
        return events

    def _wait_for_more(self, piece: bytes) -> list[bytes]:
        """Keep a piece of an incomplete event; return the event in parts if it is too large."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._seam = (self._seam + piece)[-_SEAM_BYTES:]
        if self._size <= MOST_BYTES:
            return []
        large = self.rest
        self._forget()
        return [large]

    def _forget(self) -> None:
        self._pieces, self._size, self._seam = [], 0, b""


def begins_json(body: bytes) -> bool:
    """Return whether a body begins like a JSON value, as no stream of events does."""
    return body.lstrip()[:1] in (b"{", b"[")


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
