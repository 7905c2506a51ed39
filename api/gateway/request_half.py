"""The request half of a turn: the provider's body, the turn id, and the gateway's obligations."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import msgspec

from shared import keys
from shared.bypass import REASON as BYPASS_SWITCH
from shared.deadline import Deadline
from shared.errors import Degraded

from ..pipeline.compression_result import CompressionResult
from ..runtime.turn_store import TurnState, TurnStore
from .gateway_request import CONTROLS, GatewayRequest, provider_of_model

REDRIVE = "redrive"
RELAY_USAGE = "relay_usage"
_NOT_WANTED = ("bypass", "empty", BYPASS_SWITCH)


class FirstHalf(NamedTuple):
    """The additions to the answer of a gateway's request."""

    fields: dict[str, Any]
    transforms: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


class RequestHalf:
    """Opens turns."""

    def __init__(self, store: TurnStore) -> None:
        self._store = store

    async def open(
        self, user: str, request: GatewayRequest, result: CompressionResult, deadline: Deadline
    ) -> FirstHalf:
        """Return what the gateway sends to the provider, and store the turn for the response half.

        The retrieval tool is offered from an agent's first request on, or once there is a marker.
        Tools precede the messages in the prompt, so adding one later would invalidate the
        provider's cache of all messages.
        """
        turn_id = secrets.token_hex(16)
        sent = _provider_body(request, result)
        armed = (
            request.redrives and result.mode == "ccr" and (bool(result.hashes) or request.has_tools)
        )
        obligations: tuple[str, ...] = ()
        transforms: tuple[str, ...] = ()
        body = sent
        if armed:
            obligations = (REDRIVE,)
            if not request.offers:
                body = request.provider.offer(sent)
                transforms = ("ccr_tool_injected",)
        if request.capabilities.can_relay_response and not _is_left(result):
            obligations = (*obligations, RELAY_USAGE)
        if obligations:
            turn = TurnState(request.shape, result.model, obligations, result.messages)
            kept = body if armed else b""
            try:
                await self._store.open(keys.user_tag(user), turn_id, turn, kept, deadline)
            except Degraded as error:
                fields = _fields(request, sent, turn_id, ())
                return FirstHalf(fields, degraded=(error.reason,))
        return FirstHalf(_fields(request, body, turn_id, obligations), transforms)


def _is_left(result: CompressionResult) -> bool:
    """Return whether no compression was wanted, so that no usage needs to be reported.

    Requests that a policy leaves unchanged do not count: their usage is compared with others'.
    """
    return result.reason in _NOT_WANTED


def _provider_body(request: GatewayRequest, result: CompressionResult) -> bytes:
    """Return the request without the farm's fields and with the resulting messages."""
    shape = request.provider
    body = request.body
    if result.changed and result.array == shape.array:
        body = type(body)(body.replaced({shape.array: b"[" + b",".join(result.pieces) + b"]"}))
    return body.without(CONTROLS)


def _fields(
    request: GatewayRequest, body: bytes, turn_id: str, obligations: tuple[str, ...]
) -> dict[str, Any]:
    model = request.body.get("model")
    tier = request.body.get("service_tier")
    return {
        "body": msgspec.Raw(body),
        "turn_id": turn_id,
        "route": {
            "model": model if isinstance(model, str) else None,
            "provider": provider_of_model(model),
            "service_tier": tier if isinstance(tier, str) else None,
            "reason": "",
        },
        "obligations": list(obligations),
        "gateway": request.capabilities.echo(),
        "headers": {},
    }
