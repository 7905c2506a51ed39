"""Cost of a request under the provider's prompt cache, and a provider's reported usage."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.accounting.litellm_price_map import PriceMap, parse, read_price_map
from api.accounting.provider_usage import read_usage
from api.accounting.request_cost import Cost, cost_of, rates_of
from api.accounting.token_prices import Price
from api.accounting.usage_record import AnsweredRequest, answered
from api.pipeline.compression_result import CacheShares, CompressionResult
from shared.errors import InvalidField
from shared.prompt_cache_rules import Usage

OPUS = Price(Decimal(15), False, "claude-opus-4-6")


def _answer(cache: CacheShares | None, model: str = "claude-opus-4-6") -> CompressionResult:
    before, after = 10_000, 9_000
    if cache is not None:
        before, after = cache.read_before + cache.new_before, cache.read_after + cache.new_after
    return CompressionResult([], 1, 1, before, after, [], [], model, [], cache=cache)


def _usd(cost: Cost) -> tuple[float, float]:
    return cost.without / 1e10, cost.with_farm / 1e10


def test_unknown_cache_counts_all_at_list_price() -> None:
    cost = cost_of(_answer(None), rates_of("claude-opus-4-6", OPUS))
    assert _usd(cost) == pytest.approx((0.15, 0.135))


def test_token_removed_when_new_saves_a_write() -> None:
    cost = cost_of(_answer(CacheShares(8000, 2000, 8000, 1000)), rates_of("claude-x", OPUS))
    assert cost.saved / 1e10 == pytest.approx(1000 * 1.25 * 15 / 1e6)


def test_token_removed_earlier_saves_a_read() -> None:
    cost = cost_of(_answer(CacheShares(8000, 100, 7000, 100)), rates_of("claude-x", OPUS))
    assert cost.saved / 1e10 == pytest.approx(1000 * 0.1 * 15 / 1e6)


def test_counts_cost_of_rewritten_prefix() -> None:
    answer = _answer(CacheShares(8000, 1000, 0, 8500))
    cost = cost_of(answer, rates_of(answer.model, OPUS))
    assert cost.saved < 0
    entry = answered(AnsweredRequest("r", "ada", 0.1), answer, OPUS)
    row = dict(entry.row)
    assert (int(row["saved"]), int(row["cost"]), row["costlier"]) == (500, cost.saved, "1")
    assert int(row["costlier_cost"]) == -cost.saved
    line = json.loads(entry.recent)
    assert line["cost_saved_usd"] == pytest.approx(cost.saved / 1e10)
    assert line["list_price_saved_usd"] == pytest.approx(500 * 15 / 1e6)


def test_counts_cost_of_request_without_savings() -> None:
    answer = _answer(CacheShares(8000, 1000, 0, 9000))
    row = dict(answered(AnsweredRequest("r", "ada", 0.1), answer, OPUS).row)
    assert "saved" not in row
    assert (row["costlier"], int(row["cost"]) < 0) == ("1", True)


@pytest.mark.parametrize(
    ("model", "marked", "ttl", "weight"),
    [
        ("claude-x", True, 300, 1.25),
        ("claude-x", True, 3600, 2.0),
        ("claude-x", False, 300, 1.0),
        ("gpt-5.5", False, 300, 1.0),
        ("gpt-5.6", False, 300, 1.25),
    ],
)
def test_new_tokens_cost_the_write_price(model: str, marked: bool, ttl: int, weight: float) -> None:
    shares = CacheShares(0, 1000, 0, 1000, marked, ttl)
    cost = cost_of(_answer(shares, model), rates_of(model, Price(Decimal(2), False)))
    assert cost.without / 1e10 == pytest.approx(1000 * weight * 2 / 1e6)


@pytest.mark.parametrize(
    ("model", "write", "write_1h"),
    [("gpt-5.6", "1", 10_000), ("claude-x", "2.5", 40_000), ("claude-x", "10", 100_000)],
)
def test_an_hours_write_costs_at_least_the_tables_write(
    model: str, write: str, write_1h: int
) -> None:
    rates = rates_of(model, Price(Decimal(2), False, cache_write=Decimal(write)))
    assert rates.write_1h == write_1h


_SHARE = st.integers(0, 10_000_000)


@given(_SHARE, _SHARE, _SHARE, _SHARE, st.integers(0, 10**8))
def test_amounts_stay_within_64_bits(a: int, b: int, c: int, d: int, price: int) -> None:
    rates = rates_of("claude-x", Price(Decimal(price).scaleb(-4), False))
    cost = cost_of(_answer(CacheShares(a, b, c, d, ttl_seconds=3600)), rates)
    assert max(cost.without, cost.with_farm) < 2**63
    assert cost.without - cost.saved == cost.with_farm


def test_price_map_knows_current_models() -> None:
    found = read_price_map()
    assert found.source.startswith("litellm ")
    dated = found.find("anthropic/claude-opus-4-6-20260101")
    assert dated is not None
    name, price = dated
    assert name == "claude-opus-4-6"
    assert price.cache_read == price.input / 10
    assert price.cache_write == price.input * Decimal("1.25")
    assert found.find("claude-opus-4-99") is None, "another model, not a release of a known one"
    assert found.find("") is None


def test_price_map_skips_invalid_prices() -> None:
    entries: dict[str, Any] = {
        "sample_spec": {"mode": "one of chat, ...", "input_cost_per_token": "a number"},
        "picture": {"mode": "image_generation", "input_cost_per_token": 1e-6},
        "huge": {"mode": "chat", "input_cost_per_token": 1e30},
        "minus": {"mode": "chat", "input_cost_per_token": -1e-6},
        "good": {"mode": "chat", "input_cost_per_token": 7.5e-8, "cache_read_input_token_cost": 0},
    }
    prices = parse(json.dumps(entries).encode())
    assert set(prices) == {"good"}
    found = PriceMap(prices).find("good-2026-01-01")
    assert found is not None
    assert (found[1].input, found[1].cache_read) == (Decimal("0.0750"), Decimal(0))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "input_tokens": 10,
                "cache_creation_input_tokens": 300,
                "cache_read_input_tokens": 2000,
                "output_tokens": 7,
            },
            Usage(10, 300, 0, 2000, 7),
        ),
        (
            {
                "input_tokens": 5,
                "cache_creation_input_tokens": 300,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 100,
                    "ephemeral_1h_input_tokens": 200,
                },
            },
            Usage(5, 100, 200, 0, 0),
        ),
        (
            {
                "prompt_tokens": 1200,
                "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 1024},
            },
            Usage(176, 0, 0, 1024, 9),
        ),
        (
            {
                "input_tokens": 1200,
                "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 150},
                "output_tokens": 3,
            },
            Usage(50, 150, 0, 1000, 3),
        ),
        ({"cached_tokens": 640}, Usage(read=640)),
        ({"cache_read_input_tokens": 5, "input_tokens": None}, Usage(read=5)),
    ],
)
def test_reads_usage_of_each_provider(usage: Any, expected: Usage) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        {"output_tokens": 5},
        {"input_tokens": -1},
        {"input_tokens": True},
        {"input_tokens": 1.5},
        {"input_tokens": "7"},
        {"input_tokens": 10**9},
        {"prompt_tokens": 10, "cached_tokens": 11},
        {"cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 2}},
    ],
)
def test_rejects_malformed_usage(usage: Any) -> None:
    with pytest.raises(InvalidField):
        read_usage(usage)
