"""What a request costs without and with the farm, given the provider's prompt cache.

Amounts are whole units of 1e-10 USD: tokens times a price with four decimals per million tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache

from shared.prompt_cache_rules import TTL_SECONDS, rules_of

from ..pipeline.compression_result import CompressionResult
from .token_prices import Price

_STEP = Decimal(1)


@dataclass(frozen=True, slots=True)
class Rates:
    """A model's prices in units of 1e-10 USD per token.

    ``automatic`` means that the provider caches without marks, so that every new token is
    written to its cache; ``output`` is 0 if no such price is known.
    """

    input: int
    read: int
    write: int
    write_1h: int
    output: int
    automatic: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """A request's messages in units of 1e-10 USD, as received and as returned."""

    without: int
    with_farm: int

    @property
    def saved(self) -> int:
        """What the farm saved; negative if the request cost more because of it."""
        return self.without - self.with_farm


@lru_cache(maxsize=4096)
def rates_of(model: str, price: Price) -> Rates:
    """Return the rates of ``model``; missing prices are the input price times the provider's
    weight."""
    rules = rules_of(model)
    plain = price.units_per_token
    read = _units(price.cache_read, plain, rules.read)
    write = _units(price.cache_write, plain, rules.write)
    long = plain * rules.write_1h if rules.write_1h > rules.write else write
    output = _units(price.output, 0, 0)
    return Rates(plain, read, write, max(write, round(long)), output, rules.automatic)


def cost_of(answer: CompressionResult, rates: Rates) -> Cost:
    """Return what the answer's messages cost without and with the farm.

    If it is not known what the provider has cached, all tokens count as new, and none as written
    to the cache.
    """
    shares = answer.cache
    if shares is None:
        return Cost(answer.tokens_before * rates.input, answer.tokens_after * rates.input)
    if not (shares.marked or rates.automatic):
        new = rates.input
    elif shares.ttl_seconds >= TTL_SECONDS["1h"]:
        new = rates.write_1h
    else:
        new = rates.write
    return Cost(
        shares.read_before * rates.read + shares.new_before * new,
        shares.read_after * rates.read + shares.new_after * new,
    )


def per_mtok(units: int) -> float:
    """Return units per token as USD per million tokens."""
    return units / 10_000


def _units(per_mtok: Decimal | None, plain: int, weight: float) -> int:
    """Return a price per million tokens in units; if it is None, ``plain`` times ``weight``."""
    if per_mtok is not None:
        return int(per_mtok.scaleb(4))
    return int((plain * Decimal(str(weight))).quantize(_STEP, ROUND_HALF_EVEN))
