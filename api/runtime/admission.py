"""How much this process may have to read and plan at once, and whose turn it is.

The pools' queues are bounded in Redis; what comes before them, reading and planning what is
new, is this process's own thread. Left alone, all requests at hand would share it and all be
late together, and so would what costs little: taking connections, passing answers on. So one
request at a time has the thread for such work, for a few milliseconds, and everything
else gets through between two turns. Where more waits than can be done in time, whoever
comes then is told so at once (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue
10(5), 2012: it is the time in a queue that is to be bounded, not its length).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from shared.deadline import Deadline
from shared.errors import Degraded

TURN_SECONDS = 0.005
"""How long a request has the thread before others may go on."""
REQUEST_BYTES = 4096
"""What a request costs beside its new bytes, as bytes."""
ROUNDS = 20
"""How often the event loop comes round before a request with something new is answered."""
_ANSWER_SECONDS = 0.02
_ANSWER_ROUNDS = 12
"""What putting an answer together takes, and how often the loop comes round meanwhile."""
_SPARE_SECONDS = 0.15
_MUCH_SECONDS = 2.0
_SLACK_SECONDS = 2.0
"""What is left of a request's time after those rounds, or half of it."""
_FIRST_PACE = 2.0 * 1024 * 1024
"""Bytes a second that a core reads and plans, until this process has measured its own pace."""
_HALF_LIFE_SECONDS = 0.3
"""How long rounds are remembered: by their mean for who is taken on, because one slow round may
have been the only one, and by the slowest for when an answer must be begun."""
_MEMORY = 0.9
"""How much of the measured pace stays when another request is through."""


class AdmissionControl:
    """The reading and planning at hand in this process."""

    def __init__(self) -> None:
        self._thread = asyncio.Lock()
        self._at_hand = 0
        self._by_user: Counter[str] = Counter()
        self._wanting = 0
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

    def before(self, deadline: Deadline) -> Deadline:
        """Return when waiting ends, so that an answer by ``deadline`` can be put together.

        That takes the event loop some rounds; a tenth of the time there is, at most
        :data:`_SPARE_SECONDS`, is for a loop that becomes slower meanwhile. Of little time half is
        kept back at most, of much a quarter: one slow round may have been the only one.
        """
        left = deadline.remaining
        spare = min(_SPARE_SECONDS, left / 10)
        slowest = self._round * _left_after(time.monotonic() - self._measured)
        kept = max(spare, _ANSWER_SECONDS + _ANSWER_ROUNDS * slowest)
        most = max(left / 4, min(left / 2, _MUCH_SECONDS / 2))
        return Deadline(deadline.monotonic - min(kept, most), deadline.wall)

    def enter(self, user: str, new_bytes: int, deadline: Deadline) -> Admission:
        """Take ``new_bytes`` of messages on, to read and plan here for ``user``, or none of them.

        All that is at hand may take half of the time this request has, and a quarter for a
        user who has a request at hand already: others find room beside a flood of his. Nor is
        anything taken on while the event loop, which also takes requests and passes answers
        on, comes round too seldom. Where nothing is at hand, anything is taken on.
        """
        self._measure()
        size = new_bytes + REQUEST_BYTES
        left = deadline.remaining
        if self._at_hand:
            most = left / (4 if user in self._by_user else 2)
            slow = self._mean_round * ROUNDS > left - min(left / 2, _SLACK_SECONDS)
            if slow or (self._at_hand + size) / self._pace > most:
                return Admission(self, user, 0, deadline)
        self._at_hand += size
        self._by_user[user] += size
        return Admission(self, user, size, deadline)

    def leave(self, user: str, size: int) -> None:
        """Have done with a request's work."""
        self._at_hand -= size
        self._by_user[user] -= size
        if not self._by_user[user]:
            del self._by_user[user]
        self._clock()
        self._seconds *= _MEMORY
        self._done = self._done * _MEMORY + size

    async def turn(self, deadline: Deadline) -> None:
        """Wait for the thread.

        Raises:
            Degraded: the deadline came first.
        """
        self._want(1)
        try:
            if self._wanting == 1:
                await self._thread.acquire()
            else:
                async with asyncio.timeout(deadline.remaining):
                    await self._thread.acquire()
        except TimeoutError:
            self._want(-1)
            raise Degraded("deadline") from None
        except BaseException:
            self._want(-1)
            raise

    def end_turn(self) -> None:
        """Leave the thread to the next."""
        self._thread.release()
        self._want(-1)

    def _measure(self) -> None:
        """Measure how long the event loop takes to come round."""
        if not self._measuring:
            self._measuring = True
            asyncio.get_running_loop().call_soon(self._came_round, time.monotonic())

    def _came_round(self, since: float) -> None:
        self._measuring = False
        now = time.monotonic()
        took, faded = now - since, _left_after(now - self._measured)
        self._round = max(took, self._round * faded)
        self._mean_round = self._mean_round * faded + took * (1 - _left_after(took))
        self._measured = now

    def _want(self, more: int) -> None:
        self._clock()
        self._wanting += more

    def _clock(self) -> None:
        """Add the time since the last look, where somebody had the thread or waited for it."""
        now = time.monotonic()
        if self._wanting:
            self._seconds += now - self._since
        self._since = now


def _left_after(seconds: float) -> float:
    """Return the weight of what was measured so long ago."""
    weight: float = 0.5 ** (seconds / _HALF_LIFE_SECONDS)
    return weight


class Admission:
    """One request's place in a :class:`AdmissionControl`; ``refused`` where there was none.

    ``ends`` is when reading and planning must end for the answer to be there in time.
    """

    def __init__(self, room: AdmissionControl, user: str, size: int, deadline: Deadline) -> None:
        self._room = room
        self._user = user
        self._size = size
        self.ends = room.before(deadline)
        self.refused = not size
        self._until: float | None = None

    async def turn(self) -> None:
        """Have the thread for the next piece of work, after others where they wait.

        Raises:
            Degraded: the deadline came first.
        """
        if self._until is not None:
            if time.monotonic() < self._until:
                return
            self.rest()
            await asyncio.sleep(0)
        await self._room.turn(self.ends)
        self._until = time.monotonic() + TURN_SECONDS

    def rest(self) -> None:
        """Leave the thread to others: this request waits for something else."""
        if self._until is not None:
            self._until = None
            self._room.end_turn()

    def leave(self) -> None:
        """Have done with the work; a second time does nothing."""
        self.rest()
        if self._size:
            self._room.leave(self._user, self._size)
            self._size = 0
