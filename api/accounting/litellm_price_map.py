"""Models' published prices, from the price map in litellm's wheel.

The file ``model_prices_and_context_window_backup.json`` is read without importing the package,
which would take seconds. If the wheel is not installed, there is no map.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import msgspec
import structlog

_log = structlog.get_logger(__name__)
_PACKAGE = "litellm"
_FILE = "litellm/model_prices_and_context_window_backup.json"
_MODES = {"chat", "responses", "completion"}
_MILLION = 1_000_000
_HIGHEST = 0.01
"""Highest valid price in USD per token (the bound of :mod:`api.accounting.token_prices`)."""
_STEP = Decimal("0.0001")
_RELEASE = re.compile(r"[-@:](latest|preview|\d{3,8}(-\d\d){0,2})")
"""The suffix of a dated release of a model: ``-2024-07-18``, ``@20250929``."""


class MapEntry(msgspec.Struct):
    """The fields read for a model, in USD per token. They may have any type, because the map's
    first entry documents the fields in words."""

    mode: Any = None
    input_cost_per_token: Any = None
    output_cost_per_token: Any = None
    cache_read_input_token_cost: Any = None
    cache_creation_input_token_cost: Any = None


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """USD per million tokens, four decimals; None if the provider lists no such price."""

    input: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PriceMap:
    """Prices by model, and their source (empty: there are no prices)."""

    prices: Mapping[str, MapEntry] = field(default_factory=dict)
    source: str = ""

    def find(self, model: str) -> tuple[str, ListedPrice] | None:
        """Return name and price of ``model``: as given, without ``provider/``, or undated."""
        for name in (model, model.rpartition("/")[2]):
            if name in self.prices:
                return name, _listed(self.prices[name])
            ends = [i for i, char in enumerate(name) if char in "-@:" and name[:i] in self.prices]
            if ends and _RELEASE.fullmatch(name[ends[-1] :]):
                undated = name[: ends[-1]]
                return undated, _listed(self.prices[undated])
        return None


def read_price_map() -> PriceMap:
    """Return the installed map; an empty one if there is none or it cannot be read.

    Takes about 10 ms for 4 900 models, so no request may wait for it.
    """
    try:
        found = distribution(_PACKAGE)
        data = found.locate_file(_FILE).read_bytes()  # type: ignore[attr-defined]
        return PriceMap(parse(data), f"{_PACKAGE} {found.version}")
    except PackageNotFoundError:
        _log.info("price_map_absent", package=_PACKAGE)
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("price_map_unreadable", error=type(error).__name__)
    return PriceMap()


def parse(data: bytes) -> dict[str, MapEntry]:
    """Return the text models with a price from the JSON of litellm's map.

    Raises:
        msgspec.DecodeError: ``data`` does not have that format.
    """
    return {
        name: entry
        for name, entry in msgspec.json.decode(data, type=dict[str, MapEntry]).items()
        if entry.mode in _MODES and _per_million(entry.input_cost_per_token) is not None
    }


def _listed(entry: MapEntry) -> ListedPrice:
    return ListedPrice(
        input=_per_million(entry.input_cost_per_token) or Decimal(0),
        cache_read=_per_million(entry.cache_read_input_token_cost),
        cache_write=_per_million(entry.cache_creation_input_token_cost),
        output=_per_million(entry.output_cost_per_token),
    )


def _per_million(per_token: object) -> Decimal | None:
    """Return USD per token as USD per million tokens; None if it is not a valid price."""
    if isinstance(per_token, bool) or not isinstance(per_token, int | float):
        return None
    if not 0 <= per_token <= _HIGHEST:
        return None
    return (Decimal(str(per_token)) * _MILLION).quantize(_STEP, ROUND_HALF_EVEN)
