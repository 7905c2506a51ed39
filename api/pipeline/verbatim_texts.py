"""Texts sent without their form because of a fault; revision_rule says when that is changed."""

from __future__ import annotations

import asyncio

import msgspec

from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import unpack_form
from shared.settings import Settings

from ..runtime.user_store import UserStore
from .conversation import Sent
from .request_context import RequestContext
from .revision_rule import revision, unfinished


class LeftTexts:
    """Records in Redis which texts were sent without their form, by chain."""

    def __init__(self, store: UserStore, settings: Settings) -> None:
        self._state = store
        self._settings = settings
        self._noting: set[asyncio.Task[None]] = set()

    async def revise(self, turn: RequestContext) -> None:
        """Decide again the texts that lack their form because of a fault, if the rule allows it."""
        waiting = [i for i in unfinished(turn) if i >= turn.options.frozen_message_count]
        if turn.admission.refused or not waiting:
            return
        turn.admission.release_thread()
        tag = turn.session.tag
        by_key = {c.key: i for i in waiting for c in turn.messages[i].plan.candidates}
        lengths: dict[int, int] = {}
        try:
            noted = await self._state.left(tag, [turn.chains[i] for i in waiting], turn.deadline)
            again = [i for i in waiting if noted.get(turn.chains[i]) == frozenset()]
            if again:  # another replica has decided them again
                await _take_back(turn, again[0])
                return
            found = await self._state.forms(tag, list(by_key), turn.deadline) if by_key else {}
            for key, packed in found.items():
                text, index = unpack_form(packed).text, by_key[key]
                length = len(text) if text is not None else turn.messages[index].size
                lengths[index] = lengths.get(index, 0) + length
            revised = revision(turn, waiting, lengths)
            if revised is None:
                return
            done: dict[bytes, tuple[int, ...]]
            done = {turn.chains[i]: () for i in waiting if i >= revised.first}
            await self._state.leave(tag, done, turn.deadline)
        except (Degraded, msgspec.DecodeError):
            return
        turn.revised = revised.reason
        await _take_back(turn, revised.first)

    def note(self, turn: RequestContext, sent: list[Sent]) -> None:
        """Record for other replicas, after the answer, which texts were sent without their form."""
        left = {
            turn.chains[index]: sent[index].left
            for index in range(turn.known, len(sent))
            if sent[index].left - turn.left.get(turn.chains[index], frozenset())
        }
        if not left:
            return
        deadline = Deadline.after(self._settings.redis_timeout)
        task = asyncio.create_task(self._leave(turn.session.tag, left, deadline), name="left")
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _leave(
        self, user: str, left: dict[bytes, frozenset[int]], deadline: Deadline
    ) -> None:
        try:
            await self._state.leave(user, left, deadline)
        except Degraded:  # this process still knows them
            return


async def _take_back(turn: RequestContext, first: int) -> None:
    """Forget the decisions on the messages from ``first`` on, so that they are made again."""
    async with turn.conversation.lock:
        turn.conversation.cut(first)
    turn.known = min(turn.known, first)
