"""Marks that ask the provider to cache the prompt up to them: they move from turn to turn."""

from __future__ import annotations

import re

_MARK_VALUE = rb'"cache_control"\s*:\s*(?:\{[^{}]*\}|null)'
_MARK = re.compile(rb",\s*" + _MARK_VALUE + rb"|" + _MARK_VALUE + rb"\s*,?")
"""A cache mark in raw JSON. It cannot match inside a string, where quotes are escaped."""


def without_marks(raw: bytes) -> tuple[bytes, bytes]:
    """Return a raw message without its cache marks, and the bytes that identify the marks."""
    if b'"cache_control"' not in raw:
        return raw, b""
    found = [b"%d:%b" % (m.start(), m.group()) for m in _MARK.finditer(raw)]
    return _MARK.sub(b"", raw), b"|".join(found)
