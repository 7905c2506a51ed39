"""Unit tests run their event loops in asyncio's debug mode."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def asyncio_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make loops raise on calls from another thread, and show where a lost coroutine was created.

    Together with ``filterwarnings = error``, a coroutine that is never awaited or a resource that
    is never closed fails its test.
    """
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
