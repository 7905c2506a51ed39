"""The Lua scripts, by name. Redis runs each atomically."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def script(name: str) -> str:
    """Return the source of ``name``.lua."""
    return (files(__name__) / f"{name}.lua").read_text("utf-8")
