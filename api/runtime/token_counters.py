"""The token counter of a request's model, loaded off the event loop.

For the first model of some families (llama, qwen, deepseek) headroom imports a library or reads
a vocabulary, which takes seconds; other requests proceed meanwhile.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from shared.deadline import Deadline
from shared.errors import Degraded
from shared.headroom import Counter, counter_for, known_counter

from .admission import Admission


class TokenCounters:
    """Token counters by model. One thread loads them: headroom's registry is not thread-safe."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counters")

    async def of(self, model: str, admission: Admission, deadline: Deadline) -> Counter:
        """Return the counter of ``model``.

        Raises:
            Degraded: the request was not admitted, or loading took too long.
        """
        found = known_counter(model)
        if found is not None:
            return found
        if admission.refused:
            raise Degraded("overload")
        admission.release_thread()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline.remaining):
                return await loop.run_in_executor(self._thread, counter_for, model)
        except TimeoutError:
            raise Degraded("deadline") from None
