"""Answers the model's retrieval calls within a client's turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from shared import keys
from shared.deadline import Deadline
from shared.errors import NotRetrievable, Unavailable
from shared.settings import Settings

from ..accounting.proxy_counters import ProxyCounters
from ..accounting.usage_recording import AnswerBook
from ..provider.provider_interface import Provider, Retrieval, ToolResult, Turn, is_unique
from ..provider.retrieval_exchange import exchange_of, pack, without_originals
from ..provider.session import Conversation, name_of_answer
from ..runtime.find_original import find_original
from ..runtime.retrieval_exchange_store import MOST_BYTES, ExchangeStore
from ..runtime.user_store import UserStore

_log = structlog.get_logger(__name__)
_NO_HASH = (
    "This call names no hash. Call headroom_retrieve with the hash of a marker, for example "
    '{"hash": "1e47cda5ca78d9727954608c"}.'
)


class Retrievals:
    """Finds originals for the model, and stores the retrievals for the session's later requests."""

    def __init__(
        self,
        settings: Settings,
        store: UserStore,
        exchanges: ExchangeStore,
        book: AnswerBook,
        counters: ProxyCounters,
    ) -> None:
        self._counters = counters
        self._settings = settings
        self._store = store
        self._exchanges = exchanges
        self._book = book

    async def answer(self, user: str, turn: Turn) -> tuple[ToolResult, ...]:
        """Return the results of an answer's retrieval calls; a failed one tells the model why."""
        deadline = Deadline.after(self._settings.deadline_ms / 1000)
        asked = [self._result(user, one, deadline) for one in turn.retrievals]
        found = tuple(await asyncio.gather(*asked))
        for one in found:
            self._counters.retrieved("failed" if one.failed else "served")
        return found

    async def keep(
        self,
        user: str,
        conversation: Conversation,
        shape: Provider,
        at: int,
        turns: Sequence[Turn],
        results: Sequence[tuple[ToolResult, ...]],
        *,
        by_id: bool,
    ) -> None:
        """Store the exchange of a turn for the session's later requests.

        ``by_id``: one of them may continue the answer by its id, whatever else names the session.
        If it is too large, it is stored without the originals: the model is told, above all one
        that called a tool of the client too, to which the result would come with that tool's.
        """
        if not turns or not results:
            return
        marks = shape.marks(turns[-1].said)
        exchange = exchange_of(at, turns, results, marks, conversation.beginning)
        visible = [mark for turn in turns for mark in shape.marks(turn.said)]
        placed = by_id or conversation.named_beginning or is_unique(visible)
        if exchange is None or not placed:  # no later request could show where it belongs
            return
        packed = pack(exchange)
        whole = len(packed) <= MOST_BYTES
        if not whole:
            _log.warning("exchange_too_large", bytes=len(packed))
            packed = pack(without_originals(exchange))
        tag = keys.user_tag(user)
        names = [conversation.key]
        if by_id and exchange.id:
            names.append(name_of_answer(exchange.id))
        stored = len(packed) <= MOST_BYTES
        for name in names if stored else ():
            stored = await self._exchanges.remember(tag, name, packed) and stored
        if not (whole and stored):
            for _ in [result for found in results for result in found]:
                self._counters.retrieved("not_kept")

    async def _result(self, user: str, call: Retrieval, deadline: Deadline) -> ToolResult:
        if not call.hash:
            return ToolResult(call.id, _NO_HASH, failed=True)
        try:
            tag = keys.user_tag(user)
            found = await find_original(self._store, self._settings, tag, call.hash, deadline)
        except (NotRetrievable, Unavailable) as error:
            said = f"The original of {call.hash} cannot be retrieved: {error}."
            return ToolResult(call.id, said, failed=True)
        self._book.retrieved(user, found)
        return ToolResult(call.id, found.original.content)
