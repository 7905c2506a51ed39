"""The capabilities that a gateway declares, and the shape of its request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidField

from ..pipeline.split_body import OPTION_NAMES
from ..provider.api_shapes import CHAT, MESSAGES, RESPONSES
from ..provider.body import Body, Unreadable
from ..provider.provider_interface import Provider

CONTROLS = OPTION_NAMES | {"config", "gateway"}
"""Request fields for the farm, which are never sent to a provider."""
SHAPES: dict[str, Provider] = {
    "anthropic": MESSAGES.requests,
    "openai": CHAT.requests,
    "openai_responses": RESPONSES.requests,
}
"""Providers' request formats by name."""
_KNOWN_HEADERS = ("anthropic-beta",)
"""Client headers that a gateway may pass on; others are ignored, as in headroom."""
_MOST_HEADERS = 256
_FIELD = b'"gateway"'
"""What the body of each gateway request contains, outside its messages."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The gateway's capabilities, by headroom's names.

    ``can_redrive``: it can call the provider again with another body. ``can_relay_response``: it
    reports the provider's usage. ``session_affinity``: it sends a session's requests to the same
    replica, which is not needed here and only echoed in the answer.
    """

    can_redrive: bool = False
    can_relay_response: bool = False
    session_affinity: bool = True

    def echo(self) -> dict[str, bool]:
        """Return the capabilities as echoed in the answer."""
        return {
            "can_redrive": self.can_redrive,
            "can_relay_response": self.can_relay_response,
            "session_affinity": self.session_affinity,
        }


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """A request of a gateway: its body, the gateway's capabilities, the provider's format.

    ``redeems`` says whether a marker's original can be retrieved: by the client itself
    (``offers``: it has the tool), or by the farm in the response half of the turn.
    """

    body: Body
    capabilities: Capabilities
    shape: str
    offers: bool
    redrives: bool

    @property
    def provider(self) -> Provider:
        """The provider's request format."""
        return SHAPES[self.shape]

    @property
    def redeems(self) -> bool:
        """Whether the client or the farm answers the model's retrieval calls."""
        return self.offers or self.redrives

    @property
    def has_tools(self) -> bool:
        """Whether the request has tools of its own, as an agent's does."""
        return self.body.field("tools") not in (b"", b"null", b"[]")


def gateway_request(
    raw: bytes, most_bytes: int, known: tuple[int, int] = (0, 0)
) -> GatewayRequest | None:
    """Return the gateway request in ``raw``; None if it is not one, or cannot be read.

    ``known`` are the start and the end of messages in ``raw`` that were read before. If the body
    has more than ``most_bytes``, the turn is not stored, so its retrievals are not answered.

    Raises:
        InvalidField: The field ``gateway`` is invalid.
    """
    start, end = known
    if raw.find(_FIELD, 0, start) < 0 and raw.find(_FIELD, end) < 0:
        return None
    try:
        body = Body(raw)
        if "gateway" not in body:
            return None
        capabilities = _capabilities(body.get("gateway"))
        shape = _shape_of(body)
        provider = SHAPES[shape]
        offers = provider.offers(raw)
        redrives = capabilities.can_redrive and len(raw) <= most_bytes and provider.can_offer(raw)
    except Unreadable:
        return None
    return GatewayRequest(body, capabilities, shape, offers, redrives)


def _capabilities(given: Any) -> Capabilities:
    if not isinstance(given, dict):
        raise InvalidField("'gateway' must be an object")
    values: dict[str, bool] = {}
    for name in ("can_redrive", "can_relay_response", "session_affinity"):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, bool):
            raise InvalidField(f"'gateway.{name}' must be true or false")
        values[name] = value
    headers = given.get("request_headers")
    if headers is not None:
        if not isinstance(headers, dict) or len(headers) > _MOST_HEADERS:
            raise InvalidField("'gateway.request_headers' must be an object of headers")
        for name, value in headers.items():
            known = name.strip().lower() in _KNOWN_HEADERS
            if known and value is not None and not isinstance(value, str):
                raise InvalidField(f"'gateway.request_headers.{name}' must be a string")
    return Capabilities(**values)


def _shape_of(body: Body) -> str:
    """Return the provider's format, from the conversation, its tools, or else the model's name."""
    if "messages" not in body and "input" in body:
        return "openai_responses"
    tools = body.field("tools")
    if b'"input_schema"' in tools:
        return "anthropic"
    if b'"function"' in tools:
        return "openai"
    messages = body.field("messages")
    if b'"tool_calls"' in messages or b'"tool_call_id"' in messages:
        return "openai"
    if b'"tool_use_id"' in messages or "system" in body:
        return "anthropic"
    return provider_of_model(body.get("model"))


def provider_of_model(model: object) -> str:
    """Return the provider whose API serves a model, from its name, as headroom does."""
    name = model.lower() if isinstance(model, str) else ""
    return "anthropic" if "claude" in name or "anthropic" in name else "openai"
