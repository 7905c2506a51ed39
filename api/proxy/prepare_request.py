"""A request as sent to the provider: compressed, its other bytes unchanged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import falcon.asgi
import structlog

from shared import keys, logs
from shared.deadline import Deadline
from shared.errors import RequestError
from shared.settings import Settings
from shared.tracing import tracer

from ..accounting.usage_record import AnsweredRequest
from ..accounting.usage_recording import AnswerBook, Recording
from ..http.request import BodyLease, asks_bypass, deadline_of, trace_of, user_of
from ..pipeline.compression_result import CompressionResult
from ..pipeline.compressor import Compressor
from ..pipeline.dispatch_jobs import Origin
from ..provider.body import Body, Unreadable, array_pieces
from ..provider.provider_interface import Provider
from ..provider.retrieval_exchange import unpack
from ..provider.session import Conversation, conversation_of
from ..runtime.retrieval_exchange_store import ExchangeStore
from .offer_tool import Offer
from .tool_definitions import Tightened, ToolDefinitions

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The request for the provider.

    ``result`` is None if the body could not be read. ``serves`` says whether the request offers the
    farm's retrieval tool, so that the farm answers its calls. ``conversation`` and ``items`` locate
    the turn's retrievals; ``put_back`` is the number of items of earlier turns that the farm has
    inserted. ``recording`` writes the request's usage record.
    """

    body: bytes
    result: CompressionResult | None = None
    serves: bool = False
    conversation: Conversation = field(default_factory=Conversation)
    put_back: int = 0
    recording: Recording | None = None

    def items(self, array: str) -> int:
        """Return the number of messages or items that the client itself sent in ``array``."""
        return len(Body(self.body).items(array)) - self.put_back

    @property
    def streams(self) -> bool:
        """Whether the client asks for a streamed answer."""
        return b'"stream"' in self.body and Body(self.body).get("stream") is True

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that report the compression in the client's answer."""
        if self.result is None:
            return []
        return [
            ("x-headroom-tokens-before", str(self.result.tokens_before)),
            ("x-headroom-tokens-after", str(self.result.tokens_after)),
            ("x-headroom-tokens-saved", str(self.result.tokens_saved)),
        ]


class Preparation:
    """Compresses clients' requests with the same pipeline as ``/v1/compress``."""

    def __init__(
        self,
        settings: Settings,
        compressor: Compressor,
        exchanges: ExchangeStore,
        book: AnswerBook,
    ) -> None:
        self._settings = settings
        self._compressor = compressor
        self._exchanges = exchanges
        self._book = book
        self._definitions = ToolDefinitions(settings)

    async def prepare(
        self,
        req: falcon.asgi.Request,
        shape: Provider,
        raw: bytes,
        lease: BodyLease,
        *,
        counted: bool,
    ) -> Outgoing:
        """Return the request for the provider; on any failure, the client's original request.

        ``lease`` accounts for the body's memory; ``counted``: the request gets a usage record.
        """
        deadline = deadline_of(req, self._settings)
        bypass = asks_bypass(req)
        try:
            body = Body(raw, self._compressor.sessions.read_before(user_of(req), raw))
            offers = shape.offers(body)
            serves = not (offers or bypass) and shape.can_offer(body)
            continued = shape.continued_id(body)
            recalls = serves or bool(continued and not bypass)
            tools = self._definitions.of(body)
        except Unreadable:
            return Outgoing(raw)
        conversation = conversation_of(req.get_header, body, shape.array, continued)
        tag = keys.user_tag(user_of(req))
        recalled = asyncio.create_task(
            self._exchanges.recall(tag, conversation.keys, deadline) if recalls else _nothing()
        )
        try:
            if serves and not shape.leaves_choice(body):
                serves = Offer(body, await recalled).stands
            # A task of its own: the usage record is written even if the client disconnects.
            task = asyncio.create_task(
                self._compress(
                    req,
                    raw,
                    lease,
                    deadline,
                    conversation.session,
                    counted=counted,
                    bypass=bypass,
                    redeems=offers or serves,
                    tools=tools,
                ),
                name="prepare",
            )
            lease.held_by(task)
            result, recording = await asyncio.shield(task)
            known = await recalled
            if result.array != shape.array:
                return Outgoing(raw)
            offer = Offer(body, known)
            agent = offer.is_agent and result.mode == "ccr"
            serves = serves and bool(result.hashes or offer.was_made or agent)
            note = offer.note(agent=agent) if serves else None
            if note is not None:
                self._exchanges.note_offered(tag, conversation.key, note)
            sent = _sent(shape, body, result, tools, offered=serves)
            put_back = 0
            if exchanges := unpack(known or ()):
                sent = shape.put_back(sent, exchanges, conversation.named_beginning)
                put_back = len(Body(sent).items(shape.array)) - len(body.items(shape.array))
        except (RequestError, Unreadable):  # the provider reports the mistake to the client
            return Outgoing(raw)
        except Exception as error:  # a defect of the farm must not fail the request
            _log.error("prepare_failed", error=type(error).__name__, at=logs.frames(error))
            return Outgoing(raw)
        finally:
            recalled.cancel()
        return Outgoing(sent, result, serves, conversation, put_back, recording)

    async def _compress(
        self,
        req: falcon.asgi.Request,
        raw: bytes,
        lease: BodyLease,
        deadline: Deadline,
        session: str,
        *,
        counted: bool,
        bypass: bool,
        redeems: bool,
        tools: Tightened | None,
    ) -> tuple[CompressionResult, Recording | None]:
        started = time.perf_counter()
        user, request_id = user_of(req), req.context.request_id
        with tracer.span("proxy", trace_of(req), request_id=request_id) as trace:
            origin = Origin(request_id, trace, keys.user_tag(keys.tenant_of(user)))
            result = await self._compressor.compress(
                user, raw, deadline, origin, bypass=bypass, redeems=redeems, session=session
            )
        if result.behind is not None:
            lease.held_by(result.behind)
        if tools is not None and result.mode:  # without a mode the request is sent unchanged
            result = tools.counted_in(result)
        if not counted:
            return result, None
        request = AnsweredRequest(request_id, user, time.perf_counter() - started)
        return result, self._book.record_soon(request, result)


def _sent(
    shape: Provider,
    body: Body,
    result: CompressionResult,
    tools: Tightened | None,
    *,
    offered: bool,
) -> bytes:
    """Return the body with its compressed messages and its tools; unchanged if both are."""
    fields: dict[str, bytes | list[bytes]] = {}
    if result.changed:
        fields[shape.array] = array_pieces(result.pieces)
    sent_tools = tools.raw if tools is not None and result.mode else b""
    if offered:
        sent_tools = shape.with_ours(sent_tools or body.list_of("tools"))
    if sent_tools:
        fields["tools"] = sent_tools
    return body.replaced(fields) if fields else body.raw


async def _nothing() -> list[bytes]:
    return []
