"""The answers of the reports as msgspec structs: statistics, sessions, prices.

The fields named here are guaranteed. Fields may be added, so no schema forbids others.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .response_schemas import Count


class Window(Struct):
    """The time range and the users that a report covers."""

    since: str | None
    until: str | None
    resolution: str
    user: str | None
    model: str | None


class Savings(Struct):
    """Savings of one user or model."""

    requests: Count
    compressed: Count
    tokens_saved: Count
    total_input: Count
    avg_compression_pct: float
    cost_without_usd: float
    cost_saved_usd: float
    list_price_saved_usd: float
    requests_that_cost_more: Count
    measured_usd: float


class ModelSavings(Savings):
    """Savings of one model."""

    model: str


class UserSavings(Savings):
    """Savings of one user."""

    user: str


class CompressionSummary(Struct):
    """Savings of the requests that were compressed."""

    requests_compressed: Count
    avg_compression_pct: float
    total_tokens_removed: Count
    best_compression_pct: float
    best_detail: str | None


class UncompressedSummary(Struct):
    """Requests that were not compressed, by reason."""

    total: Count
    reasons: dict[str, Count]


class MeasuredTokens(Struct):
    """Tokens billed by providers, by kind."""

    uncached: Count
    written: Count
    read: Count
    output: Count


class CostSummary(Struct):
    """Cost of the messages in USD: estimated, and as reported by the provider."""

    without_headroom_usd: float
    with_headroom_usd: float
    total_saved_usd: float
    list_price_saved_usd: float
    requests_that_cost_more: Count
    cost_more_usd: float
    measured_requests: Count
    measured_usd: float
    measured_output_usd: float
    measured_tokens: MeasuredTokens


class Summary(Struct):
    """Totals of the window."""

    api_requests: Count
    compression: CompressionSummary
    uncompressed_requests: UncompressedSummary
    cost: CostSummary


class Tags(Struct):
    """The user of a request."""

    user_id: str = field(name="user-id")


class RecentRequest(Struct):
    """One answered request."""

    request_id: str
    timestamp: str
    provider: str
    model: str
    input_tokens_original: Count
    input_tokens_optimized: Count
    tokens_saved: Count
    savings_percent: float
    cost_without_usd: float
    cost_with_usd: float
    cost_saved_usd: float
    list_price_saved_usd: float
    cost_per_mtok: float
    cached_tokens: Count | None
    tags: Tags
    total_latency_ms: float


class Stats(Struct):
    """``GET /stats``."""

    window: Window
    summary: Summary
    recent_requests: Annotated[list[RecentRequest], Meta(max_length=100)]


class EngineSavings(Struct):
    """One engine's results."""

    blocks: Count
    tokens_saved: Count


class Hour(Struct):
    """One hour's requests."""

    hour: str
    requests: Count
    compressed: Count
    tokens_saved: Count
    avg_pct: float


class Day(Struct):
    """One day's requests."""

    day: str
    requests: Count
    compressed: Count
    tokens_saved: Count
    avg_pct: float


class Insights(Struct):
    """``GET /stats/insights``.

    ``engines`` and ``transforms_detail`` are counted over all users and models; they are null in
    a report on one of them.
    """

    window: Window
    total_requests: Count
    engines: dict[str, EngineSavings] | None
    transforms_detail: dict[str, Count] | None
    by_model: list[ModelSavings]
    by_user: list[UserSavings]
    hourly: list[Hour]
    daily: list[Day] | UnsetType | None = UNSET


class Latency(Struct):
    """Percentiles in milliseconds; null without measurements."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class EngineLatency(Latency):
    """Percentiles for a pool's engines in milliseconds, and their total time."""

    seconds_total: float


class PricingState(Struct):
    """State of the price database."""

    state: str
    age_seconds: float | None


class LedgerState(Struct):
    """Usage records not yet in Redis, and lost ones."""

    backlog: Count
    dropped: Count


class Requests(Struct):
    """Requests of the window."""

    total: Count
    degraded: dict[str, Count]
    latency: Latency


class QueueState(Struct):
    """Jobs waiting for a pool."""

    depth: Count
    blocks: Count
    bytes: Count
    oldest_seconds: float


class Pool(Struct):
    """One worker pool."""

    workers: Count
    queue: QueueState
    jobs: dict[str, Count]
    blocks: dict[str, Count]
    engine: EngineLatency


class Farm(Struct):
    """``GET /stats/farm``."""

    at: str | None
    redis: str
    pricing_db: PricingState
    ledger: LedgerState
    requests: Requests | None
    pools: dict[str, Pool] | None


class Interval(Struct):
    """An estimate and its 95 % interval; null with too little data."""

    value: float | None
    low: float | None
    high: float | None


class Difference(Struct):
    """Difference between the compressed sessions and the control group."""

    difference: Interval
    relative: Interval


class Group(Struct):
    """The sessions of one group under one rule."""

    sessions: Count
    requests: Count
    requests_not_read: Count
    requests_degraded: Count
    total: dict[str, float]
    a_session: dict[str, Interval]
    latency_ms: Interval
    saved_share_of_bill: Interval
    saved_share_of_tokens: Interval


class PolicyRule(Struct):
    """The groups of one rule."""

    rule: str
    groups: dict[str, Group]
    comparison: dict[str, Difference] | None


class Paused(Struct):
    """An engine that is paused for a tool's outputs, and the reason."""

    scope: str
    engine: str
    tool: str
    since: float
    until: float
    shortened: float
    asked_back: float


class Observed(Struct):
    """Counts of a tool's outputs that an engine shortened and that models asked for again."""

    scope: str
    engine: str
    tool: str
    shortened: float
    asked_back: float
    rate: float | None


class FeedbackState(Struct):
    """The thresholds for pausing an engine, the pauses, and the counts."""

    rate: float
    sample: Count
    pause_seconds: Count
    paused: list[Paused]
    observed: list[Observed]


class Policy(Struct):
    """``GET /stats/policy``."""

    unit: str
    confidence: float
    rules: list[PolicyRule]
    policy: dict[str, Any] | None
    feedback: FeedbackState


class Lifetime(Struct):
    """Totals since the first usage record."""

    requests: Count
    tokens_saved: Count
    compression_savings_usd: float
    total_input_tokens: Count
    total_input_cost_usd: float


class HistoryEntry(Struct):
    """A request that saved tokens."""

    timestamp: str
    model: str
    total_tokens_saved: Count
    compression_savings_usd: float
    cost_per_mtok: float


class HistoryHour(Struct):
    """One hour's savings."""

    hour: str
    requests: Count
    tokens_saved: Count
    total_input_tokens: Count
    compression_savings_usd: float


class Series(Struct):
    """Savings over time."""

    hourly: list[HistoryHour]


class History(Struct):
    """``GET /stats-history``."""

    window: Window
    lifetime: Lifetime
    history: list[HistoryEntry]
    series: Series


class Session(Struct):
    """One user's session cache."""

    user_id: str
    last_active_seconds_ago: float
    cache_entries: Count
    cache_hits: Count
    cache_misses: Count
    tokens_saved_from_cache: Count


class Sessions(Struct):
    """``GET /sessions``."""

    active_sessions: Count
    max_sessions: Count
    session_ttl_seconds: Count
    sessions: list[Session]


class CachePrices(Struct):
    """USD per million tokens of the provider's prompt cache."""

    read: float | None
    write: float | None


class PriceMap(Struct):
    """The price list of litellm."""

    source: str | None
    models: Count


class AskedPrice(Struct):
    """Prices of one model's tokens, in USD per million."""

    model: str
    row: str | None
    per_mtok: float
    fallback: bool
    source: str
    cache_read_per_mtok: float
    cache_write_per_mtok: float
    cache_write_1h_per_mtok: float


class Pricing(Struct):
    """``GET /pricing``; ``asked`` is set if the query names a model."""

    models: dict[str, float]
    cache: dict[str, CachePrices]
    price_map: PriceMap
    fallback_cost_per_mtok: float
    source: str
    db: str
    refreshed_at: str | None
    age_seconds: float | None
    ignored_rows: Count
    asked: AskedPrice | UnsetType = UNSET
