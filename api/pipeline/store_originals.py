"""Step 6, second half: renew or store the originals of the answer's markers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence

from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import Original
from shared.settings import Settings

from ..runtime.user_store import UserStore
from .conversation import Sent
from .message import Place
from .request_context import RequestContext, text_at
from .session_memory import Session


class ShownOriginals:
    """Keeps the originals of answers' markers in Redis."""

    def __init__(self, store: UserStore, settings: Settings) -> None:
        self._state = store
        self._settings = settings
        self._storing: set[asyncio.Task[None]] = set()

    async def keep(self, turn: RequestContext, sent: Sequence[Sent]) -> None:
        """Renew the TTLs of this answer's originals, and store those that no worker has stored.

        An expired original is stored again, because its text is in the request. What the deadline
        leaves unstored is stored after the answer.
        """
        session = turn.session
        now = time.monotonic()
        stale = now - self._settings.ccr_ttl_seconds / 4
        places = {h: (i, item.shown[h]) for i, item in enumerate(sent) for h in item.shown}
        late = [h for h in places if session.refreshed.get(h, -1e9) < stale]
        if not late:
            return
        new = [h for h in late if h not in session.refreshed and h in sent[places[h][0]].unstored]
        filed = turn.options.filed
        noted = dict.fromkeys(late, filed.packed) if filed is not None else None
        owed = [_original(h, turn, sent, places[h]) for h in new]
        try:
            known = [h for h in late if h not in new]
            gone = await self._state.keep(session.tag, owed, known, turn.deadline, noted)
            owed = [_original(h, turn, sent, places[h]) for h in gone]
            if owed:
                await self._state.keep(session.tag, owed, (), turn.deadline)
            session.refreshed.update(dict.fromkeys(late, now))
        except Degraded as error:
            turn.degraded.add(error.reason)
            if owed:
                self._store_later(session, owed, noted)

    def _store_later(
        self, session: Session, owed: Sequence[Original], noted: Mapping[str, bytes] | None
    ) -> None:
        task = asyncio.create_task(self._store(session, owed, noted), name="originals")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _store(
        self, session: Session, owed: Sequence[Original], noted: Mapping[str, bytes] | None
    ) -> None:
        deadline = Deadline.after(self._settings.redis_timeout)
        with contextlib.suppress(Degraded):  # the conversation's next request tries again
            await self._state.keep(session.tag, owed, (), deadline, noted)
            session.refreshed.update(dict.fromkeys([o.hash for o in owed], time.monotonic()))


def _original(
    digest: str, turn: RequestContext, sent: Sequence[Sent], where: tuple[int, Place]
) -> Original:
    """Return the original of a text in this request, equal to the one stored before."""
    index, place = where
    text = text_at(turn.message(index), place)
    made = next((one for one in sent[index].lost if one.digest == digest), None)
    tool, engine = (made.tool or None, made.engine) if made is not None else (None, None)
    tokens = turn.counter.count_text(text)
    return Original(digest, text, tokens, tool_name=tool, strategy=engine)
