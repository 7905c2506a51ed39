"""The Lua scripts, by name. Redis runs each atomically."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files


@cache
def script(name: str) -> str:
    """Return the source of ``name``.lua."""
    return (files(__name__) / f"{name}.lua").read_text("utf-8")


@cache
def text_of(sha: str) -> str:
    """Return the source of the script with this SHA-1, as ``EVALSHA`` names it.

    Raises:
        LookupError: no script has this SHA-1.
    """
    for path in files(__name__).iterdir():
        if path.name.endswith(".lua"):
            text = path.read_text("utf-8")
            if sha1(text.encode(), usedforsecurity=False).hexdigest() == sha:
                return text
    raise LookupError(f"no script of {__name__} has the digest {sha}")
