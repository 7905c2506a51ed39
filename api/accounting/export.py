"""The ledger as a file: ``headroom-farm export`` and ``import``."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared import keys
from shared.errors import ArchiveError
from shared.redis_connection import BROKEN, connect
from shared.settings import Settings

from .usage_record import money

_FORMAT = "headroom-farm-books"
_VERSION = 1
_COUNTS = ("requests", "compressed", "before", "after", "saved", "costlier")
_MONEY = {
    "cost": "saved_usd",
    "without": "without_headroom_usd",
    "input_cost": "input_cost_usd",
    "list": "list_price_saved_usd",
    "measured_cost": "measured_usd",
}
"""Monetary counters, and the names of their columns."""
_LEFT_OUT = ("answer:", "barrier", "names:")
"""Parts that are not exported. ``names:`` was written by earlier releases; it is not restored."""


class Export(msgspec.Struct, frozen=True):
    """An export. ``lifetime`` and ``history`` are for readers; an import restores ``keys``."""

    format: str
    version: int
    exported_at: str
    lifetime: dict[str, Any]
    history: list[dict[str, Any]]
    keys: dict[str, Any]


class Archive:
    """Reads or writes the whole ledger."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings)

    def json(self) -> str:
        """Return the ledger as JSON.

        Raises:
            ArchiveError: Redis cannot be read.
        """
        kept = self._dump()
        life = kept.get("life", {})
        total = {n[2:]: int(v) for n, v in life.items() if n.startswith("t\x1f")}
        lifetime = {name: total.get(name, 0) for name in ("requests", "compressed")} | {
            "tokens_saved": total.get("saved", 0),
            "compression_savings_usd": str(money(total.get("cost", 0))),
            "list_price_saved_usd": str(money(total.get("list", 0))),
            "total_input_tokens": total.get("after", 0),
            "total_input_cost_usd": str(money(total.get("input_cost", 0))),
        }
        export = Export(
            format=_FORMAT,
            version=_VERSION,
            exported_at=datetime.now(UTC).isoformat(),
            lifetime=lifetime,
            history=[msgspec.json.decode(line) for line in kept.get("history", [])],
            keys=kept,
        )
        return msgspec.json.format(msgspec.json.encode(export), indent=1).decode() + "\n"

    def csv(self) -> str:
        """Return one line per hour and one for the lifetime; money in USD.

        Raises:
            ArchiveError: Redis cannot be read.
        """
        kept = self._dump()
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["bucket", *_COUNTS, *_MONEY.values()])
        hours = sorted(n for n in kept if n.startswith("hour:") and n.count(":") == 1)
        for bucket in [*hours, "life"]:
            row = kept.get(bucket, {})
            counts = [int(row.get(f"t\x1f{name}", 0)) for name in _COUNTS]
            amounts = [money(int(row.get(f"t\x1f{name}", 0))) for name in _MONEY]
            label = "lifetime" if bucket == "life" else bucket.removeprefix("hour:")
            writer.writerow([label, *counts, *amounts])
        return out.getvalue()

    def restore(self, data: bytes) -> int:
        """Write an export into a Redis without usage records; return the number of requests.

        Raises:
            ArchiveError: ``data`` is not an export, or Redis has usage records already. Nothing
                was changed.
        """
        try:
            export = msgspec.json.decode(data, type=Export)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ArchiveError("this is not an export of usage records") from None
        if export.format != _FORMAT or export.version != _VERSION:
            raise ArchiveError(f"this is not a {_FORMAT} export of version {_VERSION}")
        try:
            self._load(export.keys)
        except BROKEN as error:
            raise ArchiveError(
                f"the usage records cannot be written: {type(error).__name__}"
            ) from None
        return int(export.lifetime["requests"])

    def _dump(self) -> dict[str, Any]:
        """Return every part by name, read in one transaction."""
        prefix = keys.books("")
        pattern = f"{prefix.replace('{', '[{]')}*"
        try:
            found = list(self._redis.scan_iter(match=pattern, count=1000))
            names = [key.decode().removeprefix(prefix) for key in found]
            wanted = sorted(name for name in names if not name.startswith(_LEFT_OUT))
            pipe = self._redis.pipeline(transaction=True)
            for name in wanted:
                _read(pipe, name)
            values = pipe.execute()
        except BROKEN as error:
            raise ArchiveError(
                f"the usage records cannot be read: {type(error).__name__}"
            ) from None
        return {name: _plain(v) for name, v in zip(wanted, values, strict=True) if v}

    def _load(self, kept: dict[str, Any]) -> None:
        life = keys.books("life")
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.watch(life)  # type: ignore[no-untyped-call]
            if pipe.exists(life):
                raise ArchiveError("this Redis has usage records already")
            pipe.multi()
            for name, value in kept.items():
                if not name.startswith(_LEFT_OUT):
                    _write(pipe, name, value)
            pipe.execute()


def _read(pipe: Any, name: str) -> None:
    key = keys.books(name)
    if name in ("recent", "history"):
        pipe.lrange(key, 0, -1)
    elif name == "buckets" or name.startswith("used:"):
        pipe.zrange(key, 0, -1, withscores=True)
    else:
        pipe.hgetall(key)


def _write(pipe: Any, name: str, value: Any) -> None:
    key = keys.books(name)
    if name in ("recent", "history"):
        pipe.rpush(key, *value)
    elif name == "buckets" or name.startswith("used:"):
        pipe.zadd(key, dict(value))
    else:
        pipe.hset(key, mapping=value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | set | tuple):
        return [_plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value
