"""Forwards an answer to its client, and continues it if the model retrieves originals."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from ..http.request import AnswerCut
from ..provider.answer_stream import AnswerStream, decoded
from ..provider.api_shapes import RESPONSES, Shape
from ..provider.billed_usage import add_usage
from ..provider.body import Body, Unreadable
from ..provider.provider_interface import MAX_ROUNDS, ToolResult, Turn
from ..provider.sse import Framer
from ..provider.usage_in_stream import UsageTap
from .answer_retrievals import Retrievals
from .client_presence import Presence
from .errors import ProviderName, UpstreamFailed, as_event, draining, error_event
from .prepare_request import Outgoing
from .upstream_client import UpstreamAnswer

_ANSWER_BYTES = 64 * 1024 * 1024
"""Maximum size of an answer that is read for retrieval calls. A longer stream is forwarded as it
comes from there on."""
_BLANK = (b"\n\n", b"\r\n\r\n", b"\r\r")
_BLANK_BYTES = 4
_NUMBER = re.compile(rb'"sequence_number": ?([0-9]{1,9})')
Send = Callable[[bytes], Coroutine[Any, Any, UpstreamAnswer]]


class Relay:
    """One client's answer.

    ``send`` makes a follow-up request with the client's own headers; ``failed`` is called with the
    cause if an answer is not completed.
    """

    def __init__(
        self,
        presence: Presence,
        outgoing: Outgoing,
        retrievals: Retrievals,
        user: str,
        provider: ProviderName,
        shape: Shape,
        send: Send,
        failed: Callable[[str], None],
    ) -> None:
        self._failed = failed
        self._presence = presence
        self._outgoing = outgoing
        self._retrievals = retrievals
        self._user = user
        self._provider = provider
        self._shape = shape
        self._send = send
        self._results: list[tuple[ToolResult, ...]] = []
        self._taps: list[UsageTap] = []
        self._open: UpstreamAnswer | None = None
        self._settled = False
        self._sent = b""

    def usage(self) -> dict[str, Any]:
        """Return the usage that the provider reported for all rounds; call it at the end."""
        return add_usage([tap.close() for tap in self._taps])

    def close(self) -> None:
        """Close the provider's answer if it is still open."""
        if self._open is not None:
            self._open.close()

    # ── unchanged ───────────────────────────────────────────────────────────────────

    async def pass_on(self, answer: UpstreamAnswer) -> AsyncIterator[bytes]:
        """Yield the answer's bytes.

        Raises:
            AnswerCut: the provider's answer is incomplete, or the client has disconnected.
        """
        try:
            async for chunk in self._chunks(answer):
                self._note_sent(chunk)
                yield chunk
        except UpstreamFailed as error:
            framed = answer.header("content-length") or answer.coded
            if not self._presence.left or framed or not answer.is_stream:
                raise self._cut(error) from None
            yield self._last_event(draining())

    # ── with retrievals: a whole answer ─────────────────────────────────────────────

    async def whole(self, answer: UpstreamAnswer) -> tuple[UpstreamAnswer, bytes]:
        """Return the last answer of a turn that is not streamed, and the body for the client.

        Raises:
            UpstreamFailed: an answer is incomplete or missing.
            AnswerCut: the client has disconnected.
        """
        body = self._outgoing.body
        turns: list[Turn] = []
        while True:
            raw = await self._presence.unless_gone(self._read(answer))
            if answer.status != 200:
                return answer, raw
            try:
                turn = self._shape.requests.read(raw)
                body = await self._next(body, turn, len(turns))
                turns.append(turn)
                if not body:
                    merged = len(turns) > 1 or turn.retrievals
                    shown = self._shape.requests.merge(raw, turns[:-1]) if merged else raw
                    await self._keep(turns)
                    return answer, shown
            except Unreadable:
                return answer, raw
            answer = await self._presence.unless_gone(self._send(body))
            answer.decode()

    async def _read(self, answer: UpstreamAnswer) -> bytes:
        pieces, size = [], 0
        async for chunk in self._chunks(answer):
            pieces.append(chunk)
            size += len(chunk)
            if size > _ANSWER_BYTES:
                message = "the provider's answer is too large"
                raise UpstreamFailed(502, "upstream_too_large", message)
        return b"".join(pieces)

    # ── with retrievals: a stream ───────────────────────────────────────────────────

    async def stream(self, answer: UpstreamAnswer) -> AsyncIterator[bytes]:
        """Yield the events of a turn except those of retrieval calls.

        Raises:
            AnswerCut: a provider's answer is incomplete, or the client has disconnected.
        """
        body = self._outgoing.body
        view = self._shape.stream()
        follows = False
        try:
            while True:
                async for events in self._events(view, answer):
                    await self._settle(view)  # before the client can send the next request
                    self._note_sent(events)
                    yield events
                await self._settle(view)
                if view.state != "follow_up":
                    return
                follows = True
                await answer.finish()
                body = await self._next(body, view.turns[-1], len(view.turns) - 1)
                answer = await self._presence.unless_gone(self._send(body))
                answer.decode()
                if answer.status != 200:
                    yield await self._refused(answer)
                    return
                view.next_round(last=len(view.turns) >= MAX_ROUNDS)
        except UpstreamFailed as error:
            if self._presence.left:
                if view.state != "over":
                    yield self._last_event(draining())
                return
            if not follows or self._presence.gone:
                raise self._cut(error) from None
            self._failed(error.kind)
            yield self._last_event(error)
        except Unreadable:
            message = "the answer cannot be continued"
            yield error_event(self._provider, "retrieval_failed", message, self._number)

    async def _events(self, view: AnswerStream, answer: UpstreamAnswer) -> AsyncIterator[bytes]:
        framer, size, watched = Framer(), 0, True
        async with aclosing(self._chunks(answer)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if watched and size > _ANSWER_BYTES:
                    _check_unchanged(view)
                    watched = False
                    yield framer.rest
                if not watched:
                    yield chunk
                    continue
                shown = b"".join([view.feed(event) for event in framer.feed(chunk)])
                if shown:
                    yield shown
                if view.state == "follow_up":
                    return
        if watched:
            rest = view.end() + framer.rest
            if rest:
                yield rest

    async def _refused(self, answer: UpstreamAnswer) -> bytes:
        """Return the provider's error answer to a follow-up request as an event."""
        raw = await self._presence.unless_gone(self._read(answer))
        said = decoded(raw)
        if said is not None:
            return as_event(said, self._number)
        message = f"the provider answered {answer.status}"
        return error_event(self._provider, "upstream_refused", message, self._number)

    # ── the end of a stream ─────────────────────────────────────────────────────────

    def _note_sent(self, chunk: bytes) -> None:
        """Remember the end of what the client has got of a stream."""
        self._sent = chunk if len(chunk) >= _BLANK_BYTES else self._sent[-_BLANK_BYTES:] + chunk

    @property
    def _number(self) -> int | None:
        """The number of a next event, if the API numbers its events."""
        if self._shape is not RESPONSES:
            return None
        numbers = _NUMBER.findall(self._sent)
        return int(numbers[-1]) + 1 if numbers else 0

    def _last_event(self, error: UpstreamFailed) -> bytes:
        """Return an error as the last event of a stream.

        Raises:
            AnswerCut: the client has got a part of another event.
        """
        if self._sent and not self._sent.endswith(_BLANK):
            raise AnswerCut
        return error_event(self._provider, error.kind, str(error), self._number)

    # ── for whole answers and streams ───────────────────────────────────────────────

    async def _next(self, body: bytes, turn: Turn, number: int) -> bytes:
        """Return the follow-up request to a turn's answer, empty if none is needed."""
        await self._mixed([turn])
        if turn.next_step != "follow_up" or number >= MAX_ROUNDS:
            return b""
        self._results.append(await self._retrievals.answer(self._user, turn))
        last = number == MAX_ROUNDS - 1
        return self._shape.requests.follow_up(body, turn, self._results[-1], last=last)

    async def _settle(self, view: AnswerStream) -> None:
        """Store the retrievals of a stream that is over, once."""
        if view.state == "over" and not self._settled:
            self._settled = True
            await self._mixed(view.turns)
            await self._keep(view.turns)

    async def _mixed(self, turns: list[Turn]) -> None:
        """Get the retrieval results that go into the client's next request."""
        if turns and turns[-1].next_step == "mixed":
            self._results.append(await self._retrievals.answer(self._user, turns[-1]))

    async def _keep(self, turns: list[Turn]) -> None:
        if not self._results:
            return
        outgoing, shape = self._outgoing, self._shape.requests
        at = outgoing.items(shape.array)
        await self._retrievals.keep(
            self._user,
            outgoing.conversation,
            shape,
            at,
            turns,
            self._results,
            by_id=shape.stores(Body(outgoing.body)),
        )

    async def _chunks(self, answer: UpstreamAnswer) -> AsyncGenerator[bytes]:
        self._open = answer
        self._presence.when_gone(answer.close)
        tap = UsageTap(stream=answer.is_stream)
        self._taps.append(tap)
        decoder = answer.decoder() if answer.coded else None
        async for chunk in answer.chunks():
            if decoder is None:
                tap.feed(chunk)
            elif not tap.gave_up:
                tap.feed_encoded(decoder.feed(chunk))
            yield chunk

    def _cut(self, error: UpstreamFailed) -> AnswerCut:
        if not (self._presence.gone or self._presence.left):
            self._failed(error.kind)
        return AnswerCut()


def _check_unchanged(view: AnswerStream) -> None:
    """Check that the rest of a stream can be forwarded as it comes.

    Raises:
        UpstreamFailed: earlier events were hidden.
    """
    if view.hides:
        raise UpstreamFailed(502, "upstream_too_large", "the provider's answer is too large")
