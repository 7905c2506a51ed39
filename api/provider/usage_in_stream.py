"""Reads an answer's reported usage while the answer is forwarded."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.errors import UNREADABLE_JSON

_MOST_BYTES = 16 * 1024 * 1024
"""Maximum size of an event, or of an answer that is not streamed; usage in larger ones is not
read."""
_MARK = b'"usage"'


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

    Anthropic reports parts of it in the first and the last event, so the parts are merged.
    """

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream
        self._rest = b""
        self._gave_up = False
        self.usage: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> None:
        """Read a chunk of the answer."""
        if self._gave_up:
            return
        rest = self._rest + chunk
        if self._stream:
            end = max(rest.rfind(b"\n\n"), rest.rfind(b"\r\n\r\n"))
            if end >= 0:
                if _MARK in rest[:end]:
                    self._read_events(rest[:end])
                rest = rest[end:]
        self._rest = rest
        if len(rest) > _MOST_BYTES:
            self._gave_up, self._rest = True, b""

    def close(self) -> dict[str, Any]:
        """Return the usage after the last chunk, empty if none was reported."""
        if self._stream:
            self._read_events(self._rest)
        elif _MARK in self._rest:
            self._read(self._rest)
        self._rest = b""
        return self.usage

    def _read_events(self, events: bytes) -> None:
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
