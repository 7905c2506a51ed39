"""Garbage collection in long-running processes."""

from __future__ import annotations

import gc


def keep_what_is_loaded() -> None:
    """Exclude the objects that exist now from later garbage collections.

    Libraries and rules create a few hundred thousand objects that live as long as the process. A
    full collection visits each of them and pauses the process (docs/performance.md has the times).
    """
    gc.collect()
    gc.freeze()
