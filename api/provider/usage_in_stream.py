"""Reads an answer's reported usage while the answer is forwarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from shared.errors import UNREADABLE_JSON, BrokenCoding

from .sse import begins_json

_MOST_BYTES = 16 * 1024 * 1024
"""Maximum size of an event, or of an answer that is not streamed; usage in larger ones is not
read."""
_MARK = b'"usage"'
_SEAM_BYTES = 2
"""One byte less than the longest of :data:`_BLANK`."""
_BLANK = (b"\n\n", b"\n\r\n")
"""A line's end and an empty line."""


class _Inner(msgspec.Struct):
    usage: Any = None


class _Reported(msgspec.Struct):
    """The places where the APIs report usage: at the top level, in a message, in a response."""

    usage: Any = None
    message: Any = None
    response: _Inner | None = None


_reported = msgspec.json.Decoder(_Reported)


class UsageTap:
    """Collects the usage of one answer, without changing or delaying its bytes.

    Anthropic reports parts of it in the first and the last event, so the parts are merged. A body
    that does not begin like JSON is read as a stream, whatever its type.
    """

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream
        self._pieces: list[bytes] = []
        self._size = 0
        self._seam = b""
        self.gave_up = False
        self.usage: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> None:
        """Read a chunk of the answer."""
        if self.gave_up:
            return
        if not (self._stream or self._size):
            self._stream = bool(chunk.strip()) and not begins_json(chunk)
        if self._stream and (end := _events_end(self._seam + chunk)):
            end -= len(self._seam)
            self._read_events(b"".join([*self._pieces, chunk[:end]]))
            self._forget()
            chunk = chunk[end:]
        self._pieces.append(chunk)
        self._size += len(chunk)
        self._seam = (self._seam + chunk)[-_SEAM_BYTES:]
        if self._size > _MOST_BYTES:  # of a stream, only this event is not read
            self.gave_up = not self._stream
            self._forget()

    def feed_encoded(self, pieces: Iterator[bytes]) -> None:
        """Read a chunk of an answer that is forwarded encoded, in the pieces of its decoder."""
        try:
            for piece in pieces:
                self.feed(piece)
        except BrokenCoding:
            self.gave_up = True

    def close(self) -> dict[str, Any]:
        """Return the usage after the last chunk, empty if none was reported."""
        rest = b"".join(self._pieces)
        self._forget()
        if self._stream:
            self._read_events(rest)
        elif _MARK in rest:
            self._read(rest)
        return self.usage

    def _forget(self) -> None:
        self._pieces, self._size, self._seam = [], 0, b""

    def _read_events(self, events: bytes) -> None:
        if _MARK not in events:
            return
        for line in events.splitlines():
            if line.startswith(b"data:") and _MARK in line:
                self._read(line[5:])

    def _read(self, data: bytes) -> None:
        try:
            found = _reported.decode(data)
        except UNREADABLE_JSON:
            return
        inner = found.message.get("usage") if isinstance(found.message, dict) else None
        of_response = found.response.usage if found.response is not None else None
        for usage in (inner, found.usage, of_response):
            if isinstance(usage, dict):
                self.usage |= {name: value for name, value in usage.items() if value is not None}


def _events_end(data: bytes) -> int:
    """Return where the last complete event ends, 0 if none does."""
    return max([at + len(blank) for blank in _BLANK if (at := data.rfind(blank)) >= 0], default=0)
