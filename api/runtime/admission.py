"""Admission control for CPU work on the event loop.

The pools' queues are bounded in Redis, but reading and planning new messages happens before, on
this process's only thread. Without a bound all requests would share the thread and miss their
deadlines together, and cheap work (accepting connections, sending answers) would be delayed too.
So one request at a time has the thread for such work, in time slices of a few milliseconds, and
everything else runs in between. If the work already admitted takes too long for a new request's
deadline, the request is rejected at once: the time in the queue is bounded, not the queue's
length (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from shared.deadline import Deadline
from shared.errors import Degraded

SLICE_SECONDS = 0.005
"""Time slice, in seconds: how long a request has the thread before others may run."""
REQUEST_BYTES = 4096
"""Fixed cost of a request, expressed in bytes of new messages."""
ROUNDS = 20
"""Iterations of the event loop until a request with new messages is answered."""
_ANSWER_SECONDS = 0.02
_ANSWER_ROUNDS = 12
"""Time to assemble an answer: seconds of work, and iterations of the event loop."""
_SPARE_SECONDS = 0.15
"""Most time reserved for an answer, in seconds, in case the loop becomes slower."""
_SHORT_SECONDS = 2.0
"""Deadlines shorter than this, in seconds, may lose up to half of their time to the reserve."""
_SLACK_SECONDS = 2.0
"""Seconds that must remain after :data:`ROUNDS` iterations; half of the time if that is less."""
_FIRST_PACE = 2.0 * 1024 * 1024
"""Assumed bytes per second that a core reads and plans, until this process has measured it."""
_HALF_LIFE_SECONDS = 0.3
"""Half-life of measured loop iterations, in seconds. Their mean decides admission, because one slow
iteration may be an exception; the slowest decides when an answer must be started."""
_MEMORY = 0.9
"""Weight of the previous pace when a finished request adds a measurement."""


class AdmissionControl:
    """Tracks the reading and planning that this process has admitted."""

    def __init__(self) -> None:
        self._thread = asyncio.Lock()
        self._admitted = 0
        self._by_user: Counter[str] = Counter()
        self._waiting = 0
        self._round = 0.0
        self._mean_round = 0.0
        self._measured = 0.0
        self._measuring = False
        self._since = 0.0
        self._seconds = 1.0
        self._done = _FIRST_PACE

    @property
    def _pace(self) -> float:
        return self._done / self._seconds

    def wait_deadline(self, deadline: Deadline) -> Deadline:
        """Return when waiting must end so that the answer can be assembled by ``deadline``.

        Assembling takes some iterations of the event loop. A tenth of the remaining time, at
        most :data:`_SPARE_SECONDS`, is reserved in case the loop becomes slower. At most half of a
        short time is reserved, and a quarter of a long one: one slow iteration may be an exception.
        """
        left = deadline.remaining
        spare = min(_SPARE_SECONDS, left / 10)
        slowest = self._round * _left_after(time.monotonic() - self._measured)
        kept = max(spare, _ANSWER_SECONDS + _ANSWER_ROUNDS * slowest)
        most = max(left / 4, min(left / 2, _SHORT_SECONDS / 2))
        return Deadline(deadline.monotonic - min(kept, most))

    def admit(self, user: str, new_bytes: int, deadline: Deadline) -> Admission:
        """Admit a request with ``new_bytes`` of new messages of ``user``, or refuse it.

        All admitted work may take half of the time that this request has, or a quarter if the
        user already has an admitted request, so that a flood from one user leaves room for others.
        Nothing is admitted while the event loop, which also accepts requests and sends answers,
        iterates too slowly. If no work is admitted at the moment, any request is.
        """
        self._measure()
        size = new_bytes + REQUEST_BYTES
        left = deadline.remaining
        if self._admitted:
            most = left / (4 if user in self._by_user else 2)
            slow = self._mean_round * ROUNDS > left - min(left / 2, _SLACK_SECONDS)
            if slow or (self._admitted + size) / self._pace > most:
                return Admission(self, user, 0, deadline)
        self._admitted += size
        self._by_user[user] += size
        return Admission(self, user, size, deadline)

    def release(self, user: str, size: int) -> None:
        """Release the admission of a request of ``size`` bytes."""
        self._admitted -= size
        self._by_user[user] -= size
        if not self._by_user[user]:
            del self._by_user[user]
        self._clock()
        self._seconds *= _MEMORY
        self._done = self._done * _MEMORY + size

    async def acquire_thread(self, deadline: Deadline) -> None:
        """Wait for the thread.

        Raises:
            Degraded: the deadline came first.
        """
        self._count(1)
        try:
            if self._waiting == 1:
                await self._thread.acquire()
            else:
                async with asyncio.timeout(deadline.remaining):
                    await self._thread.acquire()
        except TimeoutError:
            self._count(-1)
            raise Degraded("deadline") from None
        except BaseException:
            self._count(-1)
            raise

    def release_thread(self) -> None:
        """Give the thread to the next request."""
        self._thread.release()
        self._count(-1)

    def _measure(self) -> None:
        """Measure how long an iteration of the event loop takes."""
        if not self._measuring:
            self._measuring = True
            asyncio.get_running_loop().call_soon(self._iterated, time.monotonic())

    def _iterated(self, since: float) -> None:
        self._measuring = False
        now = time.monotonic()
        took, faded = now - since, _left_after(now - self._measured)
        self._round = max(took, self._round * faded)
        self._mean_round = self._mean_round * faded + took * (1 - _left_after(took))
        self._measured = now

    def _count(self, more: int) -> None:
        self._clock()
        self._waiting += more

    def _clock(self) -> None:
        """Add the time since the last call, if a request had the thread or waited for it."""
        now = time.monotonic()
        if self._waiting:
            self._seconds += now - self._since
        self._since = now


def _left_after(seconds: float) -> float:
    """Return the weight of a measurement that is ``seconds`` old."""
    weight: float = 0.5 ** (seconds / _HALF_LIFE_SECONDS)
    return weight


class Admission:
    """A request's share of :class:`AdmissionControl`; ``refused`` if it was not admitted.

    ``ends`` is when reading and planning must end for the answer to be in time.
    """

    def __init__(self, control: AdmissionControl, user: str, size: int, deadline: Deadline) -> None:
        self._control = control
        self._user = user
        self._size = size
        self.ends = control.wait_deadline(deadline)
        self.refused = not size
        self._until: float | None = None

    async def acquire_thread(self) -> None:
        """Wait for the thread for the next piece of work; after a time slice others go first.

        Raises:
            Degraded: the deadline came first.
        """
        if self._until is not None:
            if time.monotonic() < self._until:
                return
            self.release_thread()
            await asyncio.sleep(0)
        await self._control.acquire_thread(self.ends)
        self._until = time.monotonic() + SLICE_SECONDS

    def release_thread(self) -> None:
        """Let other requests run while this one waits for something else."""
        if self._until is not None:
            self._until = None
            self._control.release_thread()

    def finish(self) -> None:
        """End the work. Idempotent."""
        self.release_thread()
        if self._size:
            self._control.release(self._user, self._size)
            self._size = 0
