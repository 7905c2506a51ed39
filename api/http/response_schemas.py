"""The answers of all endpoints except the reports, as msgspec structs.

:mod:`api.http.openapi` builds the OpenAPI document from them and from :mod:`.report_schemas`.

The fields named here are guaranteed. Fields may be added, so no schema forbids others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Hash = Annotated[str, Meta(pattern="^[a-f0-9]{12,24}$")]


class ErrorText(Struct):
    """The error's type, for programs, and a message, for people."""

    type: str
    message: str


class Error(Struct):
    """The body of every answer with a status of 400 or above."""

    error: ErrorText


class NamedSession(Struct):
    """The conversation of ``session_id``, and its number of messages returned as before."""

    id: str
    frozen_message_count: Count
    cached_prefix_replayed: bool


class Route(Struct):
    """The model and provider of a gateway's request, as the request names them."""

    model: str | None
    provider: Literal["anthropic", "openai"]
    service_tier: str | None
    reason: str


class Counts(Struct, kw_only=True):
    """The result of compression; fields from ``turn_id`` on are only for gateways."""

    tokens_before: Count
    tokens_after: Count
    tokens_saved: Count
    compression_ratio: Ratio
    transforms_applied: list[str]
    ccr_hashes: list[Hash]
    degraded: list[str]
    warnings: list[str] | UnsetType = UNSET
    session: NamedSession | UnsetType = UNSET
    turn_id: str | UnsetType = UNSET
    body: dict[str, Any] | UnsetType = UNSET
    route: Route | UnsetType = UNSET
    obligations: list[Literal["redrive", "relay_usage"]] | UnsetType = UNSET
    gateway: dict[str, bool] | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET


class Compressed(Counts, kw_only=True):
    """The conversation's messages, of which only tool output is changed."""

    messages: list[dict[str, Any]]


class CompressedInput(Counts, kw_only=True):
    """The conversation's Responses items, of which only tool output is changed."""

    input: list[dict[str, Any]]


class Traced(Counts, kw_only=True):
    """The playground's answer: also ``messages`` or ``input``, and the result of each text."""

    trace: dict[str, Any]


class Done(Struct, kw_only=True):
    """A gateway's turn has ended. ``response`` is null if the provider's answer is unchanged."""

    action: Literal["done"]
    turn_id: str
    response: dict[str, Any] | None
    frozen_message_count: Count
    usage_applied: bool
    rounds: Count
    billed_usage: dict[str, Count] | None


class Redrive(Struct, kw_only=True):
    """The gateway must call the provider again, with ``request``."""

    action: Literal["redrive"]
    turn_id: str
    request: dict[str, Any]
    round: Count


class Original(Struct):
    """The text behind a marker."""

    hash: str
    original_content: str
    original_tokens: Count
    original_item_count: Count
    compressed_item_count: Count
    tool_name: str | None
    retrieval_count: Count


class Usage(Struct):
    """A provider's usage as recorded."""

    request_id: str
    session_id: str | None
    applied: bool
    model: str
    measured_usd: float
    measured_output_usd: float
    cost_is_fallback: bool


class Health(Struct):
    """The process is running."""

    status: Literal["ok"]
    service: str


class Live(Struct):
    """The process can continue."""

    status: Literal["healthy"]
    alive: bool
    service: str
    version: str


class NotLive(Struct):
    """A background task failed for good."""

    status: Literal["unhealthy"]
    alive: bool
    service: str
    version: str
    reason: str


class TextEngine(Struct):
    """The text engine of some workers of the gpu pool."""

    engine: str
    provider: str
    graph: str
    reason: str
    workers: Count


class Ready(Struct):
    """The process can serve."""

    status: Literal["ready"]
    db: str
    uptime_seconds: float
    checks: dict[str, Any]
    text_engines: list[TextEngine]


class NotReady(Struct):
    """The process cannot serve."""

    status: Literal["not_ready"]
    db: str
    uptime_seconds: float
    checks: dict[str, Any]
    text_engines: list[TextEngine]
    reason: str


class Document(Struct):
    """This document."""

    openapi: str
    paths: dict[str, Any]
