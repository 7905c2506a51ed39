"""Step 1: split a body and read each message once; heavy ones in a child process."""

from __future__ import annotations

from collections.abc import Sequence

from shared.deadline import Deadline
from shared.errors import Degraded
from shared.headroom import Counter

from ..provider.cache_marks import without_marks
from ..runtime.admission import Admission
from ..runtime.token_counters import TokenCounters
from .message import (
    HEAVY_MESSAGE_BYTES,
    Message,
    Seen,
    chained,
    count,
    digest,
    read,
    started,
    unread,
)
from .offload import HEAVY_BODY_BYTES, Offload, TooHeavy
from .request_context import RequestContext
from .request_options import RequestOptions
from .session_memory import Session
from .split_body import Split, follow, split


def to_read_here(messages: Sequence[bytes]) -> int:
    """Return the bytes of ``messages`` that this process reads itself, without heavy ones."""
    return sum([len(raw) for raw in messages if len(raw) <= HEAVY_MESSAGE_BYTES])


class MessageReader:
    """Reads requests into :class:`RequestContext` objects."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._counters = TokenCounters()

    async def split(self, session: Session, body: bytes, deadline: Deadline) -> Split:
        """Split a body; a heavy one in the child process, unless it continues a known one.

        Raises:
            RequestError: the body is the caller's mistake.
            Degraded: the body is too large to split, or splitting took too long.
        """
        if len(body) <= HEAVY_BODY_BYTES:
            return split(body, session.trails)
        found = follow(body, session.trails, HEAVY_BODY_BYTES)
        if found is None:
            found = await self._offload.split(session.user, body, deadline)
        return found

    async def turn(
        self,
        session: Session,
        taken: Split,
        options: RequestOptions,
        deadline: Deadline,
        admission: Admission,
    ) -> RequestContext:
        """Read the messages that are new to the session, and count the others' tokens again if
        they were counted for another model. Without an admission only messages known to the
        session are used, and the next turn reads the rest.

        Raises:
            RequestError: a message is not an object.
            Degraded: the deadline passed, or there is no admission to count for a new model.
        """
        counter = await self._counters.of(options.model, admission, deadline)
        messages = [seen.facts for seen in taken.known]
        chains = _chains(options.session_id, taken.known)
        marks = [seen.marks for seen in taken.known]
        start = started(options.session_id)
        names = [_name(raw, start, chains, marks) for raw in taken.rest]
        conversation = session.conversation((options.seed, counter.id), chains)
        turn = RequestContext(
            session,
            taken,
            messages,
            counter,
            options,
            deadline,
            admission,
            conversation,
            chains,
            marks,
        )
        turn.known = conversation.shared_with(chains)
        turn.before = conversation.sent[: turn.known]
        if admission.refused:
            turn.degraded.add("overload")
            messages[:] = _known(session, taken, names, counter)
            return turn
        for raw, name in zip(taken.rest, names, strict=True):
            await admission.acquire_thread()
            facts = session.messages.get(name)
            if facts is None:
                if len(raw) > HEAVY_MESSAGE_BYTES:
                    facts = await self._heavy(turn, name, raw)
                else:
                    facts, turn.decoded[len(messages)] = read(raw, name)
                if facts.unread != "time":
                    session.remember_message(facts)
            messages.append(facts)
            _in_time(deadline)
        for index, facts in enumerate(messages):
            if counter.id not in facts.tokens or facts.unread == "time":
                await admission.acquire_thread()
                messages[index] = await self._counted(turn, index, counter)
                _in_time(deadline)
        return turn

    async def _counted(self, turn: RequestContext, index: int, counter: Counter) -> Message:
        """Return a message's data with its tokens, reading it if it was not read yet."""
        facts = turn.messages[index]
        if facts.unread == "refused":
            facts.tokens[counter.id] = facts.size // 4
        elif facts.size <= HEAVY_MESSAGE_BYTES:
            count(facts, turn.message(index), counter)
        else:
            found = await self._heavy(turn, facts.digest, turn.raw(index))
            if facts.unread == "time":
                return found
            facts.tokens[counter.id] = found.tokens[counter.id]
        return facts

    async def _heavy(self, turn: RequestContext, name: bytes, raw: bytes) -> Message:
        turn.admission.release_thread()
        try:
            return await self._offload.read(turn.session.user, raw, turn.counter, turn.deadline)
        except TooHeavy:
            return unread(name, len(raw), turn.counter, "refused")
        except Degraded:
            return unread(name, len(raw), turn.counter, "time")


def _chains(session_id: str, known: Sequence[Seen]) -> list[bytes]:
    """Return the chains of messages seen before, possibly in another session."""
    chains = [seen.chain for seen in known]
    chain = started(session_id)
    if known and chains[0] != chained(chain, known[0].facts.digest):
        for index, seen in enumerate(known):
            chains[index] = chain = chained(chain, seen.facts.digest)
    return chains


def _name(raw: bytes, start: bytes, chains: list[bytes], marks: list[bytes]) -> bytes:
    """Return the digest of a new message, and append its chain and its marks to the lists."""
    plain, found = without_marks(raw)
    name = digest(plain)
    chains.append(chained(chains[-1] if chains else start, name))
    marks.append(found)
    return name


def _known(session: Session, taken: Split, names: list[bytes], counter: Counter) -> list[Message]:
    """Return the messages' data without reading any: new messages stay unread."""
    found: list[tuple[bytes, int, Message | None]]
    found = [(seen.facts.digest, seen.facts.size, seen.facts) for seen in taken.known]
    for raw, name in zip(taken.rest, names, strict=True):
        found.append((name, len(raw), session.messages.get(name)))
    return [
        facts
        if facts is not None and counter.id in facts.tokens
        else unread(name, size, counter, "time")
        for name, size, facts in found
    ]


def _in_time(deadline: Deadline) -> None:
    if deadline.remaining <= 0:
        raise Degraded("deadline")
