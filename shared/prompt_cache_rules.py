"""What providers' prompt caches cost and how long they keep a prefix, by model.

Sources, read in November 2026:

* Anthropic, https://platform.claude.com/docs/en/build-with-claude/prompt-caching: the provider
  caches the prefix (tools, system, messages, in that order) up to each block that carries
  ``cache_control``, at most 4 of them. A mark finds the longest cached prefix among the 20
  positions that end with it, itself the first. A prefix below the model's minimum (1024 tokens
  for most) is not cached. Entries live 5 minutes or, with ``"ttl": "1h"``, one hour after their
  last use. Prices relative to input: read 0.1, write 1.25 (5 minutes) or 2.0 (1 hour). With
  both kinds of marks, tokens between the longest hit and the last 1 h mark are written at the
  1 h price, and the rest up to the last mark at the 5 minute price.
* OpenAI, https://developers.openai.com/api/docs/guides/prompt-caching and, for models before
  GPT-5.6, the cookbook's "Prompt Caching 201": the longest prefix of an earlier request, from
  1024 tokens on, in steps of 128, no write price; from GPT-5.6 on a cached prefix ends where an
  earlier request ended, and a write costs 1.25. A read costs 0.1, or 0.5 for gpt-4o and 0.25
  for gpt-4.1, o3 and o4-mini.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

_V = TypeVar("_V")
TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}
AUTOMATIC_TTL_SECONDS = 600.0
"""OpenAI keeps a prefix 5 to 10 minutes after its last use, on most models."""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """A model's rules; weights are prices relative to that of an uncached input token."""

    automatic: bool
    read: float = 0.1
    write: float = 1.0
    write_1h: float = 1.0
    minimum: int = 1024
    step: int = 1
    ends_with_request: bool = False


ANTHROPIC = CacheRules(automatic=False, write=1.25, write_1h=2.0)
OPENAI = CacheRules(automatic=True, step=128)
_OPENAI_56 = CacheRules(automatic=True, write=1.25, write_1h=1.25, ends_with_request=True)
_OTHER_READS = {"gpt-4o": 0.5, "o1": 0.5, "o3-mini": 0.55, "gpt-4.1": 0.25, "o3": 0.25}
"""Read weights of OpenAI's older models by name prefix, from its price list; the longest wins."""
_MINIMUM = {
    "claude-opus-4-5": 4096,
    "claude-opus-4-6": 4096,
    "claude-haiku-4-5": 4096,
    "claude-opus-4-7": 2048,
    "claude-3-haiku": 2048,
    "claude-3-5-haiku": 2048,
    "claude-opus-5": 512,
}


def rules_of(model: str) -> CacheRules:
    """Return the caching rules of ``model``; Anthropic's need marks."""
    name = model.rpartition("/")[2].lower()
    if "claude" in name:
        least = _longest_prefix(name, _MINIMUM)
        return ANTHROPIC if least is None else _with_minimum(least)
    if _version(name) >= (5, 6):
        return _OPENAI_56
    read = _longest_prefix(name, _OTHER_READS)
    return OPENAI if read is None else CacheRules(automatic=True, read=read, step=128)


def _with_minimum(tokens: int) -> CacheRules:
    return CacheRules(automatic=False, write=1.25, write_1h=2.0, minimum=tokens)


def _longest_prefix(name: str, table: Mapping[str, _V]) -> _V | None:
    found = [prefix for prefix in table if name.startswith(prefix)]
    return table[max(found, key=len)] if found else None


def _version(name: str) -> tuple[int, int]:
    """Return the version in ``gpt-MAJOR[.MINOR]``; (0, 0) for other names."""
    if not name.startswith("gpt-"):
        return 0, 0
    number = name[4:].split("-")[0]
    major, _, minor = number.partition(".")
    if not major.isdigit():
        return 0, 0
    return int(major), int(minor) if minor.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Usage:
    """A request's tokens as a provider bills them: the first four add up to its input."""

    uncached: float = 0
    written: float = 0
    written_1h: float = 0
    read: float = 0
    output: float = 0

    @property
    def total(self) -> float:
        """The number of input tokens."""
        return self.uncached + self.written + self.written_1h + self.read

    def cost(self, rules: CacheRules) -> float:
        """Return the price of the input in units of one uncached input token."""
        return (
            self.uncached
            + rules.read * self.read
            + rules.write * self.written
            + rules.write_1h * self.written_1h
        )
