"""How background tasks go on, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

_ASK_AGAIN_SECONDS = 0.1


async def every(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again, first after ``seconds``."""
    while True:
        await asyncio.sleep(seconds)
        await do()


async def end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel ``tasks`` until they are done; None among them is passed over.

    Once is not enough: redis-py (8.1) loses a cancellation that comes while a pipeline reads
    its answers, and the task goes on.
    """
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN_SECONDS)
