"""Token prices by model: from another team's table (read only), else from litellm's price map,
else the fallback, which is marked as such.

Prices are read in the background and kept in memory; no request waits for them. If the database
is unreachable, slow or wrong, the last prices stay in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from shared.settings import Settings

from ..runtime.background_tasks import end, supervise
from .litellm_price_map import PriceMap, read_price_map

_log = structlog.get_logger(__name__)
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # logs what this module logs
_STEP = Decimal("0.0001")
_HIGHEST = Decimal(10_000)
"""Highest valid price, in USD per million tokens: it keeps sums of costs within 64 bits."""
_CONNECT_SECONDS = 5
_NOT_GIVEN = (None, None, None)
_COLUMNS = {
    "input_cost_per_mtok": (
        "cache_read_cost_per_mtok",
        "cache_write_cost_per_mtok",
        "output_cost_per_mtok",
    ),
    "prompt_cost_per_1k": (None, None, "completion_cost_per_1k"),
}
"""The column that identifies a schema, newest first, and its columns of cache reads, cache writes
and output, which the table may lack."""
_UNITS = {"input_cost_per_mtok": 1, "prompt_cost_per_1k": 1000}
"""Factor from a column's value to USD per million tokens. The multiplication is done here because
an overflow in the query would fail all rows, not one."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, four decimals; ``per_mtok`` is for input that is not cached.

    ``row`` names the table's row or the map's model, None for the fallback. The other prices are
    None if not given; they then follow from the provider's rules.
    """

    per_mtok: Decimal
    fallback: bool
    row: str | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None
    from_map: bool = False

    @property
    def source(self) -> str:
        """``postgres``, ``price_map`` or ``fallback``."""
        if self.fallback:
            return "fallback"
        return "price_map" if self.from_map else "postgres"

    @property
    def units_per_token(self) -> int:
        """The price in units of 1e-10 USD per token; a whole number, given four decimals."""
        return int(self.per_mtok.scaleb(4))


class Prices:
    """The prices that this process knows."""

    def __init__(self, settings: Settings) -> None:
        self._fallback = Price(_rounded(settings.cost_per_mtok), True)
        self._refresh_seconds = settings.pricing_refresh_seconds
        self._timeout_ms = settings.pricing_timeout_ms
        self._conninfo = _conninfo(settings)
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._rows: dict[str, Price] = {}
        self._map = PriceMap()
        self._known: dict[str, Price] = {}
        self._read_at: float | None = None  # epoch seconds, for people
        self._since = time.monotonic()
        self._column: str | None = None
        self._error: str | None = None
        self.ignored = 0
        """Rows of the table that were skipped at the last read: no model name or usable price."""

    async def start(self) -> None:
        """Read the price map, and start reading the table in the background."""
        self._map = await asyncio.to_thread(read_price_map)
        self._known = {}
        if self._conninfo is None:
            return
        self._pool = AsyncConnectionPool(
            self._conninfo,
            min_size=0,
            max_size=1,
            open=False,
            check=AsyncConnectionPool.check_connection,
            timeout=_CONNECT_SECONDS,
            reconnect_timeout=_CONNECT_SECONDS,
            configure=self._configure,
        )
        await self._pool.open(wait=False)
        self._task = supervise("prices", self._refresh_on)

    async def stop(self) -> None:
        """Stop reading and close the connection."""
        await end([self._task])
        if self._pool is not None:
            with contextlib.suppress(Exception):
                await self._pool.close(timeout=1)

    def price_of(self, model: str) -> Price:
        """Return the price of ``model``: from the table, else the map, else the fallback."""
        known = self._known.get(model)
        if known is None:
            known = self._find(model)
            if len(self._known) < 10_000:
                self._known[model] = known
        return known

    @property
    def state(self) -> str:
        """``not_configured``, ``ok``, or ``unreachable``."""
        if self._conninfo is None:
            return "not_configured"
        return "ok" if self._error is None and self._read_at is not None else "unreachable"

    @property
    def age(self) -> float | None:
        """Seconds since the prices were read; None if they never were."""
        return None if self._read_at is None else time.monotonic() - self._since

    @property
    def stale_seconds(self) -> float | None:
        """As :attr:`age`, but since this process started until they are first read; None if no
        database is configured."""
        return None if self._conninfo is None else time.monotonic() - self._since

    def snapshot(self) -> dict[str, Any]:
        """Return the body of ``GET /pricing``."""
        read_at, age = self._read_at, self.age
        return {
            "models": {name: float(row.per_mtok) for name, row in sorted(self._rows.items())},
            "cache": {
                name: {"read": _float(row.cache_read), "write": _float(row.cache_write)}
                for name, row in sorted(self._rows.items())
            },
            "fallback_cost_per_mtok": float(self._fallback.per_mtok),
            "source": self._source,
            "price_map": {"source": self._map.source or None, "models": len(self._map.prices)},
            "db": self.state,
            "schema": self._column,
            "refreshed_at": datetime.fromtimestamp(read_at, UTC).isoformat() if read_at else None,
            "age_seconds": None if age is None else round(age, 3),
            "last_error": self._error,
            "ignored_rows": self.ignored,
        }

    @property
    def _source(self) -> str:
        """The first source that has prices: the table, the map, or the fallback."""
        if self._read_at is not None:
            return "postgres"
        return "price_map" if self._map.prices else "fallback"

    def _find(self, model: str) -> Price:
        rows = [row for row in self._rows if model.startswith(row)]
        if rows:
            return self._rows[max(rows, key=len)]
        listed = self._map.find(model)
        if listed is None:
            return self._fallback
        name, price = listed
        more = (price.cache_read, price.cache_write, price.output)
        return Price(price.input, False, name, *more, from_map=True)

    # ── reading ─────────────────────────────────────────────────────────────────────

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.set_read_only(True)

    async def _refresh_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS + 2 * self._timeout_ms / 1000):
                    rows = await self._read()
                self._succeeded(rows)
            except (psycopg.Error, PoolTimeout, OSError, TimeoutError) as error:
                self._failed(type(error).__name__)
            except Exception as error:  # whatever the table holds must not end the refresh
                _log.exception("prices_refresh_failed")
                self._failed(type(error).__name__)
            await asyncio.sleep(self._refresh_seconds)

    async def _read(self) -> list[tuple[Any, ...]]:
        assert self._pool is not None  # noqa: S101 - started
        async with self._pool.connection() as connection, connection.cursor() as cursor:
            await cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)", [str(self._timeout_ms)]
            )
            await cursor.execute("SELECT * FROM model_pricing LIMIT 0")
            present = {column.name for column in cursor.description or ()}
            self._column = next((name for name in _COLUMNS if name in present), None)
            if self._column is None:
                raise psycopg.ProgrammingError("no price column")
            names = [name if name in present else None for name in _COLUMNS[self._column]]
            wanted = [sql.Identifier(name) if name else sql.NULL for name in names]
            columns = sql.SQL(", ").join([sql.Identifier(self._column), *wanted])
            await cursor.execute(sql.SQL("SELECT model, {} FROM model_pricing").format(columns))
            return await cursor.fetchall()

    def _succeeded(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Replace the prices by those of ``rows``; skip, count and log rows that are unusable."""
        good: dict[str, Price] = {}
        unit = _UNITS[self._column or "input_cost_per_mtok"]
        for model, value, *more in rows:
            price = _usable(value, unit)
            if isinstance(model, str) and model and price is not None:
                read, write, output = [*(_given(m, unit) for m in more), *_NOT_GIVEN][:3]
                good[model] = Price(price, False, model, read, write, output)
        ignored = len(rows) - len(good)
        if ignored != self.ignored and ignored:
            _log.warning("prices_ignored", rows=ignored)
        self.ignored = ignored
        if self._error is not None or self._read_at is None:
            _log.info("prices_read", models=len(good), schema=self._column)
        self._rows, self._known = good, {}
        self._read_at, self._since, self._error = time.time(), time.monotonic(), None

    def _failed(self, error: str) -> None:
        if self._error != error:  # once per change, without the server's text
            _log.warning("prices_not_read", error=error, kept=len(self._rows))
        self._error = error


def _usable(value: object, unit: int) -> Decimal | None:
    """Return ``value`` times ``unit`` as a price; None unless from 0 to :data:`_HIGHEST`."""
    try:
        price = Decimal(str(value)) * unit  # via text: the shortest decimal form of a float
    except InvalidOperation:
        return None
    return _rounded(price) if price.is_finite() and 0 <= price <= _HIGHEST else None


def _given(value: object, unit: int) -> Decimal | None:
    """Return a price other than that of input; None if the table has none.

    These columns default to 0, so 0 means not filled in. The other prices of a free model follow
    from its input price.
    """
    return (None if value is None else _usable(value, unit)) or None


def _float(price: Decimal | None) -> float | None:
    return None if price is None else float(price)


def _rounded(price: Decimal) -> Decimal:
    return price.quantize(_STEP, ROUND_HALF_EVEN)


def _conninfo(settings: Settings) -> str | None:
    """Return the connection string of the price database; None if none is configured."""
    more: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "headroom-farm",
    }
    if settings.pricing_dsn is not None:
        return make_conninfo(settings.pricing_dsn.get_secret_value(), **more)
    if settings.pricing_pg_host is None:
        return None
    password = settings.pricing_pg_password
    return make_conninfo(
        host=settings.pricing_pg_host,
        port=settings.pricing_pg_port,
        dbname=settings.pricing_pg_db,
        user=settings.pricing_pg_user,
        password=password.get_secret_value() if password else None,
        **more,
    )
