"""The text engines a pool may run, and which is chosen at start.

A new engine is one module that satisfies :class:`shared.upstream.TextEngine` and one line
in :data:`TEXT_ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.settings import PoolName
from shared.upstream import TextCrusherEngine, TextEngine

TEXT_ENGINES: dict[str, Callable[[], TextEngine]] = {
    "text_crusher": TextCrusherEngine,
}


def text_engine(pool: PoolName) -> TextEngine | None:
    """Return the engine that compresses free text in ``pool``; the cpu pool has none."""
    return TEXT_ENGINES["text_crusher"]() if pool == "gpu" else None
