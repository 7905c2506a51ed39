"""Headroom's store of originals, one per block, for writing them to Redis."""

from __future__ import annotations

from typing import Any

from shared.jobs import Original

from . import environment  # noqa: F401 - before headroom
from headroom.cache.compression_store import CompressionStore


class JobStore(CompressionStore):
    """Collects the originals of one block, to be stored in Redis under their user's key."""

    def __init__(self) -> None:
        super().__init__(max_entries=10_000, default_ttl=3600, enable_feedback=False)
        self.hashes: list[str] = []

    def store(self, *args: Any, **kwargs: Any) -> str:
        digest: str = super().store(*args, **kwargs)
        self.hashes.append(digest)
        return digest

    def originals(self) -> list[Original]:
        """Return the originals, one per hash."""
        return [
            Original(
                hash=e["hash"],
                content=e["original_content"],
                tokens=e["original_tokens"],
                items=e["original_item_count"],
                compressed_items=e["compressed_item_count"],
                tool_name=e["tool_name"],
                strategy=e["compression_strategy"],
            )
            for e in self.export_entries(list(dict.fromkeys(self.hashes)))
        ]
