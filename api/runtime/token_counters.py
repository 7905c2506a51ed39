"""The token counter of a request's model, chosen beside the event loop.

The first model of some families (llama, qwen, deepseek) has headroom import a library or read
a vocabulary, which takes seconds: others' requests go on meanwhile.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from shared.deadline import Deadline
from shared.errors import Degraded
from shared.upstream import Counter, counter_for, known_counter

from .admission import Admission


class TokenCounters:
    """TokenCounters by model. One thread chooses, for headroom's registry is made for one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counters")

    async def of(self, model: str, place: Admission, deadline: Deadline) -> Counter:
        """Return the counter of ``model``.

        Raises:
            Degraded: there is no time to choose one, or that took too long.
        """
        found = known_counter(model)
        if found is not None:
            return found
        if place.refused:
            raise Degraded("overload")
        place.rest()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline.remaining):
                return await loop.run_in_executor(self._thread, counter_for, model)
        except TimeoutError:
            raise Degraded("deadline") from None
