"""Garbage collection in a process that serves."""

from __future__ import annotations

import gc


def keep_what_is_loaded() -> None:
    """Exclude the objects that exist now from later garbage collections.

    Libraries and rules are some hundred thousand objects that live as long as the process. A
    full collection visits each of them and stops the process meanwhile (docs/performance.md has
    the times).
    """
    gc.collect()
    gc.freeze()
