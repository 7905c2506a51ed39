"""Records answers: immediately, and again once work that continued after them has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

import msgspec

from ..pipeline.compression_result import CacheShares, CompressionResult
from ..pipeline.session_identity import Filed
from ..runtime.retrieval_feedback import Feedback
from ..runtime.user_store import Retrieved
from .ledger import Ledger
from .provider_usage import read_usage
from .request_cost import rates_of
from .token_prices import Prices
from .usage_record import AnsweredRequest, answered, measured, of_session, retrieved

_LATEST_SECONDS = 0.05
"""For a request that is not sent, because its client has disconnected."""
_SENT_SECONDS = 0.001
"""About the time that sending a request takes."""


class Recording:
    """A usage record that is written while the provider works on the request."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write: Callable[[], None] | None = write
        self._timer = self._after(_LATEST_SECONDS)

    def write_when_sent(self) -> None:
        """Write the record a little later: the request is being sent now."""
        self._timer.cancel()
        self._timer = self._after(_SENT_SECONDS)

    def write_now(self) -> None:
        """Write the record unless it has been written."""
        self._timer.cancel()
        write, self._write = self._write, None
        if write is not None:
            write()

    def _after(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self.write_now)


class AnswerBook:
    """Writes the usage records of answers to the ledger."""

    def __init__(self, ledger: Ledger, prices: Prices, feedback: Feedback) -> None:
        self._ledger = ledger
        self._feedback = feedback
        self._prices = prices
        self._following: set[asyncio.Task[None]] = set()
        self._soon: set[Recording] = set()

    async def start(self) -> None:
        """Do nothing: there is nothing to start."""

    async def stop(self) -> None:
        """Record what is not recorded yet; all work that continued after answers has ended."""
        for recording in list(self._soon):
            recording.write_now()
        await asyncio.gather(*self._following, return_exceptions=True)

    def record(self, request: AnsweredRequest, answer: CompressionResult) -> None:
        """Record an answer before it is sent.

        If work continues after the answer, the record is replaced when it has ended, because only
        then are the tokens counted and the result known.
        """
        price = self._prices.price_of(answer.model)
        self._ledger.record(answered(request, answer, price))
        if answer.session is not None:  # its usage may be reported without a model
            named = of_session(request.user, answer.session.id, answer.model)
            self._ledger.record(named)
        if answer.behind is not None:
            task = asyncio.create_task(self._follow(request, answer), name="follow")
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    def record_soon(self, request: AnsweredRequest, answer: CompressionResult) -> Recording:
        """Record a result while the provider works on its request, and before it is answered."""

        def write() -> None:
            self._soon.discard(recording)
            self.record(request, answer)

        recording = Recording(write)
        self._soon.add(recording)
        return recording

    def billed(self, user: str, name: str, model: str, usage: object) -> None:
        """Record the usage that a provider reported for the request or turn ``name``.

        Raises:
            InvalidField: The usage is not in any provider's format.
        """
        read = read_usage(usage)
        rates = rates_of(model, self._prices.price_of(model))
        self._ledger.record(measured(user, name, model, read, rates))

    def retrieved(self, user: str, found: Retrieved) -> None:
        """Record a retrieval; an original's first one is also counted for feedback."""
        filed = None
        if found.shown is not None:
            with contextlib.suppress(msgspec.DecodeError):
                filed = Filed.unpack(found.shown)
        self._ledger.record(retrieved(filed))
        original = found.original
        if found.times == 1 and original.strategy:
            self._feedback.asked_back(user, original.strategy, original.tool_name or "")

    async def _follow(self, request: AnsweredRequest, answer: CompressionResult) -> None:
        if answer.behind is None:
            return
        try:
            would = await answer.behind
        except asyncio.CancelledError:  # the process is stopping before the work has ended
            would = None
        price = self._prices.price_of(answer.model)
        counted = as_it_came(would, answer) if would is not None else replace(answer, behind=None)
        self._ledger.record(answered(request, counted, price, would))


def as_it_came(would: CompressionResult, sent: CompressionResult) -> CompressionResult:
    """Return the unchanged answer ``sent``, with the tokens that were counted since."""
    cache = would.cache
    if cache is not None:
        cache = CacheShares(
            cache.read_before,
            cache.new_before,
            cache.read_before,
            cache.new_before,
            cache.marked,
            cache.ttl_seconds,
        )
    counted = would.tokens_before
    return replace(sent, tokens_before=counted, tokens_after=counted, cache=cache, behind=None)
