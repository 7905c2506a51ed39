"""One entry of the ledger: what an answered request adds to the counters.

Money is counted in whole units of 1e-10 USD: tokens times a price with four decimals per million
tokens is a whole number of units, so sums in Redis are exact.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Literal

import msgspec

from shared.histogram_buckets import REQUEST, bucket_of
from shared.prompt_cache_rules import Usage

from ..pipeline.compression_result import CompressionResult
from ..pipeline.session_identity import Filed
from .provider_usage import input_cost
from .request_cost import Cost, Rates, cost_of, rates_of
from .token_prices import Price

RINGS = {"recent": 100, "history": 1000}
"""Number of recent requests that each ring shows; Redis may hold a tenth more."""
_NAME_CHARS = 256
_PROVIDERS = (
    ("claude", "anthropic"),
    ("gpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("gemini", "google"),
)

_DETAIL = ("hits", "misses", "e:", "d:")
_OF_ALL_ONLY = ("l:", "x:", "err", "latency_us", "retrievals", "corrected")

Row = list[tuple[str, str]]
"""Counters and the amounts to add to them, in decimal digits (64 bits, signed)."""


class Trial(msgspec.Struct, frozen=True):
    """What a request adds to its session's line in a comparison of groups (``docs/policy.md``).

    ``session`` and ``chain`` are hex digests; a further request with the same chain (empty: not
    known) adds no ``repeats``. ``amounts`` are whole numbers, money in units of 1e-10 USD.
    """

    rule: str
    arm: str
    session: str
    chain: str
    amounts: dict[str, int]


class UsageRecord(msgspec.Struct, frozen=True):
    """An entry, written by the script ``record_usage.lua``.

    ``row`` is added to the totals and to the user's and the model's row; ``detail`` to the totals
    and to the user's and the model's detail, which has a shorter retention; ``more`` to the totals
    only. ``answer`` identifies the request (empty: it cannot be replaced), ``best`` is its saving
    in hundredths of a per cent, ``at`` is the time in epoch seconds.
    """

    at: float
    row: Row
    more: Row
    detail: Row = []
    answer: str = ""
    user: str = ""
    model: str = ""
    recent: str = ""
    history: str = ""
    best: int = 0
    best_detail: str = ""
    trial: Trial | None = None


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request's id and caller, and the time to its answer in seconds."""

    id: str
    user: str
    seconds: float


def answered(
    request: AnsweredRequest,
    answer: CompressionResult,
    price: Price,
    would: CompressionResult | None = None,
) -> UsageRecord:
    """Return the entry of an answered request.

    ``would`` is the result of an audited request, whose messages were sent unchanged.
    """
    now = time.time()
    user, model = _name(request.user), _name(answer.model)
    saved = answer.tokens_saved
    cost = cost_of(answer, rates_of(answer.model, price))
    row = {
        "requests": 1,
        "before": answer.tokens_before,
        "after": answer.tokens_after,
        "input_cost": cost.with_farm,
    }
    if saved:
        row |= {
            "compressed": 1,
            "compressed_before": answer.tokens_before,
            "saved": saved,
            "list": saved * price.units_per_token,
        }
    else:
        row[f"n:{answer.reason}"] = 1
    if saved or cost.saved:
        row |= {"cost": cost.saved, "without": cost.without}
    if cost.saved < 0:
        row |= {"costlier": 1, "costlier_cost": -cost.saved}
    percent = round(answer.ratio * 10_000)
    recent = _recent(request, answer, price, cost, now, user=user, model=model)
    return UsageRecord(
        at=now,
        row=_row(row),
        detail=_row(_detail(answer)),
        more=_row(_more(request, answer)),
        answer=answer_key(request.user, request.id),
        user=user,
        model=model,
        recent=_json(recent),
        history=_json(_history(recent))[:-1] if saved else "",
        best=percent,
        best_detail=f"{answer.tokens_before} to {answer.tokens_after} tokens ({model})",
        trial=trial_of(request, would or answer, price) if answer.behind is None else None,
    )


def trial_of(request: AnsweredRequest, answer: CompressionResult, price: Price) -> Trial | None:
    """Return what a request adds to its session's line; None if no policy applies to it.

    The cost of an audited request's result is counted, although its messages were sent unchanged.
    """
    filed = answer.filed
    if filed is None:
        return None
    cost = cost_of(answer, rates_of(answer.model, price))
    amounts = {
        "requests": 1,
        "before": answer.tokens_before,
        "after": answer.tokens_after,
        "without": cost.without,
        "with": cost.with_farm,
        "latency_us": round(request.seconds * 1e6),
        "repeats": filed.repeats,
        "degraded": int(bool(answer.degraded)),
    }
    if not filed.chain:  # its body was not read, so its tokens are an estimate
        amounts = {"requests": 1, "unread": 1, "latency_us": amounts["latency_us"]}
    return Trial(filed.rule, filed.arm, filed.session.hex(), filed.chain.hex(), amounts)


def measured(user: str, request_id: str, model: str, usage: Usage, rates: Rates) -> UsageRecord:
    """Return the entry for the usage that the provider reported for a request.

    Usage reported again for the same ``request_id`` replaces the earlier amounts.
    """
    row = {
        "measured": 1,
        "measured_cost": input_cost(usage, rates),
        "measured_output_cost": int(usage.output) * rates.output,
        "measured_uncached": int(usage.uncached),
        "measured_written": int(usage.written + usage.written_1h),
        "measured_read": int(usage.read),
        "measured_output": int(usage.output),
    }
    return UsageRecord(
        at=time.time(),
        row=_row(row),
        more=[],
        answer=answer_key(user, f"usage\0{request_id}"),
        user=_name(user),
        model=_name(model),
    )


def of_session(user: str, session_id: str, model: str) -> UsageRecord:
    """Return an entry that counts nothing but records the session's last model."""
    return UsageRecord(
        at=time.time(),
        row=[],
        more=[],
        answer=session_key(user, session_id),
        user=_name(user),
        model=_name(model),
    )


def session_key(user: str, session_id: str) -> str:
    """Return the key that identifies a user's session for some time after its last request."""
    return answer_key(user, f"session\0{session_id}")


def answer_key(user: str, request_id: str) -> str:
    """Return the key that identifies a user's request while its entry may be replaced."""
    return blake2b(f"{user}\0{request_id}".encode(), digest_size=16).hexdigest()


def part_of(counter: str) -> Literal["row", "detail", "more"]:
    """Return the part of a :class:`UsageRecord` that a counter belongs to."""
    if counter.startswith(_DETAIL):
        return "detail"
    return "more" if counter.startswith(_OF_ALL_ONLY) else "row"


def refused(kind: str) -> UsageRecord:
    """Return the entry for a request answered with an error of type ``kind``."""
    return UsageRecord(at=time.time(), row=[], more=[("errors", "1"), (f"err:{kind}", "1")])


def retrieved(filed: Filed | None = None) -> UsageRecord:
    """Return the entry for a retrieval; ``filed`` identifies the request that showed the marker."""
    trial = None
    if filed is not None:
        trial = Trial(filed.rule, filed.arm, filed.session.hex(), "", {"retrievals": 1})
    return UsageRecord(at=time.time(), row=[], more=[("retrievals", "1")], trial=trial)


def money(units: int) -> Decimal:
    """Return units of 1e-10 USD as USD."""
    return Decimal(units).scaleb(-10)


def provider_of(model: str) -> str:
    """Return the provider of a model, by its name."""
    bare = model.rpartition("/")[2].lower()
    return next((name for prefix, name in _PROVIDERS if bare.startswith(prefix)), "unknown")


def _detail(answer: CompressionResult) -> dict[str, int]:
    detail = {"hits": answer.cache_hits, "misses": answer.cache_misses}
    for name, (blocks, saved) in answer.engines.items():
        detail[f"e:{name}:blocks"] = blocks
        detail[f"e:{name}:saved"] = saved
    for reason in answer.degraded:
        detail[f"d:{reason}"] = 1
    return detail


def _more(request: AnsweredRequest, answer: CompressionResult) -> dict[str, int]:
    more = {"latency_us": round(request.seconds * 1e6)}
    more[f"l:{bucket_of(request.seconds, REQUEST)}"] = 1
    for transform, count in Counter(map(_without_path, answer.transforms)).items():
        more[f"x:{transform}"] = count
    if "internal" in answer.degraded:
        more |= {"errors": 1, "err:internal": 1}
    return more


def _without_path(transform: str) -> str:
    """Return the transform's name without a file path, which headroom appends to the name of a
    stale read and which only the user may see."""
    return ":".join(transform.split(":", 2)[:2]) if transform.startswith("read_") else transform


def _row(amounts: dict[str, int]) -> Row:
    return [(name, str(amount)) for name, amount in amounts.items() if amount]


def _recent(
    request: AnsweredRequest,
    answer: CompressionResult,
    price: Price,
    cost: Cost,
    now: float,
    *,
    user: str,
    model: str,
) -> dict[str, object]:
    saved = answer.tokens_saved
    return {
        "request_id": request.id,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "provider": provider_of(answer.model),
        "model": model,
        "input_tokens_original": answer.tokens_before,
        "input_tokens_optimized": answer.tokens_after,
        "tokens_saved": saved,
        "savings_percent": round(answer.ratio * 100, 2),
        "cost_without_usd": float(money(cost.without)),
        "cost_with_usd": float(money(cost.with_farm)),
        "cost_saved_usd": float(money(cost.saved)),
        "list_price_saved_usd": float(money(saved * price.units_per_token)),
        "cost_per_mtok": float(price.per_mtok),
        "cached_tokens": answer.cache.read_after if answer.cache else None,
        "cost_is_fallback": price.fallback,
        "tags": {"user-id": user},
        "total_latency_ms": round(request.seconds * 1000, 3),
        "reason": answer.reason,
    }


def _history(recent: dict[str, object]) -> dict[str, object]:
    names = (
        "timestamp",
        "model",
        "tokens_saved",
        "cost_saved_usd",
        "list_price_saved_usd",
        "cost_per_mtok",
        "tags",
    )
    return {name: recent[name] for name in names}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _name(text: str) -> str:
    """Return a name as written in the ledger: of limited length, without the separator."""
    clean = text.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in clean)[:_NAME_CHARS]
