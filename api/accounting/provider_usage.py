"""The usage that a provider's API reports for a request: validated, and converted to one format.

Anthropic's ``input_tokens`` exclude tokens read from or written to the cache; OpenAI's
``prompt_tokens`` (Chat Completions) and ``input_tokens`` (Responses) include them.
"""

from __future__ import annotations

from typing import Any

from shared.errors import InvalidField
from shared.prompt_cache_rules import Usage

from .request_cost import Rates

_MOST = 100_000_000
"""Highest valid number of tokens: it keeps sums of costs within 64 bits."""


def input_cost(usage: Usage, rates: Rates) -> int:
    """Return what the input cost, in units of 1e-10 USD."""
    return int(
        usage.uncached * rates.input
        + usage.written * rates.write
        + usage.written_1h * rates.write_1h
        + usage.read * rates.read
    )


def read_usage(usage: object) -> Usage:
    """Return the ``usage`` object of any provider's answer in one format.

    Raises:
        InvalidField: It is not an object, has no input, or has an invalid number of tokens.
    """
    if not isinstance(usage, dict):
        raise InvalidField("'usage' must be an object")
    if "prompt_tokens" in usage:
        return _inclusive(usage, "prompt_tokens", "completion_tokens")
    if isinstance(usage.get("input_tokens_details"), dict):
        return _inclusive(usage, "input_tokens", "output_tokens")
    if "cached_tokens" in usage and "cache_read_input_tokens" not in usage:
        usage = {**usage, "cache_read_input_tokens": usage["cached_tokens"]}
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    if not any(name in usage for name in names):
        raise InvalidField(f"'usage' must have one of {', '.join(names)} or 'prompt_tokens'")
    uncached, written, read = (_amount(usage, name) for name in names)
    kinds = usage.get("cache_creation")
    long = _amount(kinds, "ephemeral_1h_input_tokens") if isinstance(kinds, dict) else 0
    if long > written:
        raise InvalidField("'usage.cache_creation' exceeds 'cache_creation_input_tokens'")
    return Usage(uncached, written - long, long, read, _amount(usage, "output_tokens"))


def _inclusive(usage: dict[str, Any], whole: str, output: str) -> Usage:
    """Return a usage whose input includes the cached tokens."""
    details = usage.get(f"{whole}_details")
    cached = details if isinstance(details, dict) else usage
    total, read = _amount(usage, whole), _amount(cached, "cached_tokens")
    written = _amount(cached, "cache_write_tokens")
    if read + written > total:
        raise InvalidField(f"'usage.{whole}' is less than the cached tokens it includes")
    return Usage(total - read - written, written, 0, read, _amount(usage, output))


def _amount(of: dict[str, Any], name: str) -> int:
    value = of.get(name, 0)
    value = 0 if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise InvalidField(f"'usage.{name}' must be a whole number from 0 to {_MOST}")
    return value
