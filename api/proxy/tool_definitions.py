"""Shortens tool definitions for the provider, and adds the saving to a request's figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.prompt_cache_rules import rules_of
from shared.settings import Settings

from ..pipeline.compression_result import CacheShares, CompressionResult
from ..provider.body import Body
from ..provider.tools import MOST_BYTES, tightened

_KEPT_BYTES = 8 * 1024 * 1024
"""Bytes of definitions kept with their shortened form: the lists of some hundred clients."""
_BYTES_PER_TOKEN = 4
_MOST_BYTES_PER_TOKEN = 6
"""Definitions of n times this many bytes have at least n tokens."""
_ENGINE = "farm_tools"


@dataclass(frozen=True, slots=True)
class Tightened:
    """A request's ``tools`` as sent, with an estimate of the tokens that this saves."""

    raw: bytes
    tokens_saved: int

    def counted_in(self, result: CompressionResult) -> CompressionResult:
        """Return the request's figures with this saving; it is added to ``tokens_before`` too."""
        saved = self.tokens_saved
        return replace(
            result,
            tokens_before=result.tokens_before + saved,
            transforms=[*result.transforms, "farm:tools"],
            engines={**result.engines, _ENGINE: (1, saved)},
            reason="",
            cache=result.cache and _without_farm(result.cache, saved),
        )


class ToolDefinitions:
    """Shortens tool definitions.

    The result depends only on their bytes and the model's rules, so every replica sends the same
    definitions, even while Redis is unavailable.
    """

    def __init__(self, settings: Settings) -> None:
        self._on = settings.tighten_tools
        self._known: dict[bytes, bytes] = {}
        self._kept = 0

    def of(self, body: Body) -> Tightened | None:
        """Return a request's definitions as sent; None if they are sent unchanged.

        They are unchanged if nothing would be saved, or if the result is so short that the provider
        might not cache it: a prefix below the model's minimum is billed in full each time.
        """
        raw = body.field("tools")
        model = body.get("model")
        if not self._on or not raw or not isinstance(model, str):
            return None
        least = rules_of(model).minimum * _MOST_BYTES_PER_TOKEN
        if not least <= len(raw) <= MOST_BYTES:
            return None
        left = self._known.pop(raw, None)
        if left is None:
            left = tightened(raw)
            self._kept += len(raw) + len(left)
        self._known[raw] = left  # now the newest
        while self._kept > _KEPT_BYTES:
            oldest = next(iter(self._known))
            self._kept -= len(oldest) + len(self._known.pop(oldest))
        saved = (len(raw) - len(left)) // _BYTES_PER_TOKEN
        if not saved or len(left) < least:
            return None
        return Tightened(left, saved)


def _without_farm(cache: CacheShares, saved: int) -> CacheShares:
    """Add tokens that only the original has to the shares; tools are at the prefix's start."""
    if cache.read_before:
        return replace(cache, read_before=cache.read_before + saved)
    return replace(cache, new_before=cache.new_before + saved)
