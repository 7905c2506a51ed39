"""Step 6, second half: renew or store the originals of the answer's markers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from shared.errors import Degraded
from shared.jobs import Original
from shared.settings import Settings

from ..runtime.user_store import UserStore
from .conversation import Sent
from .message import Place
from .request_context import RequestContext, text_at


async def keep_originals(
    store: UserStore, settings: Settings, turn: RequestContext, sent: Sequence[Sent]
) -> None:
    """Renew the TTLs of the originals of this answer's markers in Redis.

    An expired original is stored again, because its text is in the request.
    """
    session = turn.session
    now = time.monotonic()
    stale = now - settings.ccr_ttl_seconds / 4
    places = {h: (i, item.shown[h]) for i, item in enumerate(sent) for h in item.shown}
    late = [h for h in places if session.refreshed.get(h, -1e9) < stale]
    if not late:
        return
    try:
        new = [h for h in late if h not in session.refreshed and h in sent[places[h][0]].unstored]
        fresh = [_original(h, turn, sent, places[h]) for h in new]
        known = [h for h in late if h not in new]
        filed = turn.options.filed
        noted = dict.fromkeys(late, filed.packed) if filed is not None else None
        gone = await store.keep(session.tag, fresh, known, turn.deadline, noted)
        if gone:
            again = [_original(h, turn, sent, places[h]) for h in gone]
            await store.keep(session.tag, again, (), turn.deadline)
        session.refreshed.update(dict.fromkeys(late, now))
    except Degraded as error:
        turn.degraded.add(error.reason)


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
