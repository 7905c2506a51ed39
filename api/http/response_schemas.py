"""JSON Schemas of the answers of probes and reports (see :mod:`api.http.openapi`).

The fields named here are guaranteed. Fields may be added, so no schema forbids others.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}


def maybe(schema: Schema) -> Schema:
    """Return a schema of ``schema`` or null."""
    return {**schema, "type": [schema["type"], "null"]}


def listed(items: Schema) -> Schema:
    """Return a schema of a list of ``items``."""
    return {"type": "array", "items": items}


def counted(values: Schema) -> Schema:
    """Return a schema of an object with any names and these ``values``."""
    return {"type": "object", "additionalProperties": values}


def shape(**properties: Schema) -> Schema:
    """Return a schema of an object that has all these properties."""
    return {"type": "object", "required": list(properties), "properties": properties}


ERROR = shape(error=shape(type=TEXT, message=TEXT))
ORIGINAL = shape(
    hash=TEXT,
    original_content=TEXT,
    original_tokens=COUNT,
    original_item_count=COUNT,
    compressed_item_count=COUNT,
    tool_name=maybe(TEXT),
    retrieval_count=COUNT,
)
TOOL_RESULT: Schema = {
    "type": "object",
    "description": "the tool result message in the call's dialect; for a call in headroom's "
    "envelope, in headroom's own: tool_result, success, data",
}
USAGE = shape(
    request_id=TEXT,
    session_id=maybe(TEXT),
    applied=FLAG,
    model=TEXT,
    measured_usd=NUMBER,
    measured_output_usd=NUMBER,
    cost_is_fallback=FLAG,
)
HEALTH = shape(status={"const": "ok"}, service=TEXT)
LIVE = shape(status={"const": "healthy"}, alive={"const": True}, service=TEXT, version=TEXT)
NOT_LIVE = shape(
    status={"const": "unhealthy"}, alive={"const": False}, service=TEXT, version=TEXT, reason=TEXT
)
READY = shape(
    status={"enum": ["ready", "not_ready"]},
    db=TEXT,
    uptime_seconds=NUMBER,
    checks={"type": "object"},
    text_engines=listed(shape(engine=TEXT, provider=TEXT, graph=TEXT, reason=TEXT, workers=COUNT)),
)
NOT_READY = {**READY, "required": [*READY["required"], "reason"]}
_SAVINGS = {
    "requests": COUNT,
    "compressed": COUNT,
    "tokens_saved": COUNT,
    "total_input": COUNT,
    "avg_compression_pct": NUMBER,
    "cost_without_usd": NUMBER,
    "cost_saved_usd": NUMBER,
    "list_price_saved_usd": NUMBER,
    "requests_that_cost_more": COUNT,
    "measured_usd": NUMBER,
}
_WINDOW = shape(
    since=maybe(TEXT),
    until=maybe(TEXT),
    resolution=TEXT,
    user=maybe(TEXT),
    model=maybe(TEXT),
)
STATS = shape(
    window=_WINDOW,
    summary=shape(
        api_requests=COUNT,
        compression=shape(
            requests_compressed=COUNT,
            avg_compression_pct=NUMBER,
            total_tokens_removed=COUNT,
            best_compression_pct=NUMBER,
            best_detail=maybe(TEXT),
        ),
        uncompressed_requests=shape(total=COUNT, reasons=counted(COUNT)),
        cost=shape(
            without_headroom_usd=NUMBER,
            with_headroom_usd=NUMBER,
            total_saved_usd=NUMBER,
            list_price_saved_usd=NUMBER,
            requests_that_cost_more=COUNT,
            cost_more_usd=NUMBER,
            measured_requests=COUNT,
            measured_usd=NUMBER,
            measured_output_usd=NUMBER,
            measured_tokens=shape(uncached=COUNT, written=COUNT, read=COUNT, output=COUNT),
        ),
    ),
    recent_requests={
        **listed(
            shape(
                request_id=TEXT,
                timestamp=TEXT,
                provider=TEXT,
                model=TEXT,
                input_tokens_original=COUNT,
                input_tokens_optimized=COUNT,
                tokens_saved=COUNT,
                savings_percent=NUMBER,
                cost_without_usd=NUMBER,
                cost_with_usd=NUMBER,
                cost_saved_usd=NUMBER,
                list_price_saved_usd=NUMBER,
                cost_per_mtok=NUMBER,
                cached_tokens=maybe(COUNT),
                tags={"type": "object", "required": ["user-id"]},
                total_latency_ms=NUMBER,
            )
        ),
        "maxItems": 100,
    },
)
INSIGHTS = shape(
    window=_WINDOW,
    total_requests=COUNT,
    # Counted over all users and models: null where one is asked for.
    engines=maybe(counted(shape(blocks=COUNT, tokens_saved=COUNT))),
    transforms_detail=maybe(counted(COUNT)),
    by_model=listed(shape(model=TEXT, **_SAVINGS)),
    by_user=listed(shape(user=TEXT, **_SAVINGS)),
    hourly=listed(
        shape(hour=TEXT, requests=COUNT, compressed=COUNT, tokens_saved=COUNT, avg_pct=NUMBER)
    ),
)
INSIGHTS["properties"]["daily"] = {
    "type": ["array", "null"],
    "items": shape(day=TEXT, requests=COUNT, compressed=COUNT, tokens_saved=COUNT, avg_pct=NUMBER),
}
_LATENCY = {"p50_ms": maybe(NUMBER), "p95_ms": maybe(NUMBER), "p99_ms": maybe(NUMBER)}
FARM = shape(
    at=maybe(TEXT),
    redis=TEXT,
    pricing_db=shape(state=TEXT, age_seconds=maybe(NUMBER)),
    ledger=shape(backlog=COUNT, dropped=COUNT),
    requests=maybe(shape(total=COUNT, degraded=counted(COUNT), latency=shape(**_LATENCY))),
    pools=maybe(
        counted(
            shape(
                workers=COUNT,
                queue=shape(depth=COUNT, blocks=COUNT, bytes=COUNT, oldest_seconds=NUMBER),
                jobs=counted(COUNT),
                blocks=counted(COUNT),
                engine=shape(seconds_total=NUMBER, **_LATENCY),
            )
        )
    ),
)
HISTORY = shape(
    window=_WINDOW,
    lifetime=shape(
        requests=COUNT,
        tokens_saved=COUNT,
        compression_savings_usd=NUMBER,
        total_input_tokens=COUNT,
        total_input_cost_usd=NUMBER,
    ),
    history=listed(
        shape(
            timestamp=TEXT,
            model=TEXT,
            total_tokens_saved=COUNT,
            compression_savings_usd=NUMBER,
            cost_per_mtok=NUMBER,
        )
    ),
    series=shape(
        hourly=listed(
            shape(
                hour=TEXT,
                requests=COUNT,
                tokens_saved=COUNT,
                total_input_tokens=COUNT,
                compression_savings_usd=NUMBER,
            )
        )
    ),
)
SESSIONS = shape(
    active_sessions=COUNT,
    max_sessions=COUNT,
    session_ttl_seconds=COUNT,
    sessions=listed(
        shape(
            user_id=TEXT,
            last_active_seconds_ago=NUMBER,
            cache_entries=COUNT,
            cache_hits=COUNT,
            cache_misses=COUNT,
            tokens_saved_from_cache=COUNT,
        )
    ),
)
PRICING = shape(
    models=counted(NUMBER),
    cache=counted(shape(read=maybe(NUMBER), write=maybe(NUMBER))),
    price_map=shape(source=maybe(TEXT), models=COUNT),
    fallback_cost_per_mtok=NUMBER,
    source=TEXT,
    db=TEXT,
    refreshed_at=maybe(TEXT),
    age_seconds=maybe(NUMBER),
    ignored_rows=COUNT,
)
PRICING["properties"]["asked"] = shape(
    model=TEXT,
    row=maybe(TEXT),
    per_mtok=NUMBER,
    fallback=FLAG,
    source=TEXT,
    cache_read_per_mtok=NUMBER,
    cache_write_per_mtok=NUMBER,
    cache_write_1h_per_mtok=NUMBER,
)
