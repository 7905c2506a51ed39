"""What a model's input costs, by another team's table (read only).

Prices are read in the background and kept in memory; a request never waits for them, and
a database that is dead, slow or wrong leaves the last ones standing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from shared.settings import Settings

from ..runtime.tasks import end, supervise

_log = structlog.get_logger(__name__)
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # says what this module says
_STEP = Decimal("0.0001")
_HIGHEST = Decimal(10_000)
"""USD per million tokens; a row above it is an error. It keeps sums of costs within 64 bits."""
_CONNECT_SECONDS = 5
_COLUMNS = {
    "input_cost_per_mtok": "SELECT model, input_cost_per_mtok FROM model_pricing",
    "prompt_cost_per_1k": "SELECT model, prompt_cost_per_1k FROM model_pricing",
}
"""The column that tells a schema, newest first, and how it is read."""
_UNITS = {"input_cost_per_mtok": 1, "prompt_cost_per_1k": 1000}
"""What a column's value is multiplied by for USD per million tokens: in this process, where
one row that overflows costs that row and not the whole query."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million input tokens, four decimals.

    ``row`` is the table's row it came from, None for the fallback.
    """

    per_mtok: Decimal
    fallback: bool
    row: str | None = None

    @property
    def units_per_token(self) -> int:
        """The price in units of 1e-10 USD a token: four decimals per million make it whole."""
        return int(self.per_mtok.scaleb(4))


class Prices:
    """The prices this process knows."""

    def __init__(self, settings: Settings) -> None:
        self._fallback = Price(_rounded(settings.cost_per_mtok), True)
        self._refresh_seconds = settings.pricing_refresh_seconds
        self._timeout_ms = settings.pricing_timeout_ms
        self._conninfo = _conninfo(settings)
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._rows: dict[str, Decimal] = {}
        self._known: dict[str, Price] = {}
        self._read_at: float | None = None
        self._column: str | None = None
        self._error: str | None = None
        self.ignored = 0
        """Rows of the last reading that were skipped: no model name, or no usable price."""

    async def start(self) -> None:
        """Begin to read, in the background; without a database there is nothing to do."""
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
        """Return the price of ``model``: its row's, the longest prefix's, or the fallback."""
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
        """Seconds since the prices were read, None where they never were."""
        return None if self._read_at is None else max(0.0, time.time() - self._read_at)

    def snapshot(self) -> dict[str, Any]:
        """Return the body of ``GET /pricing``."""
        read_at, age = self._read_at, self.age
        return {
            "models": {model: float(price) for model, price in sorted(self._rows.items())},
            "fallback_cost_per_mtok": float(self._fallback.per_mtok),
            "source": "postgres" if read_at is not None else "fallback",
            "db": self.state,
            "schema": self._column,
            "refreshed_at": datetime.fromtimestamp(read_at, UTC).isoformat() if read_at else None,
            "age_seconds": None if age is None else round(age, 3),
            "last_error": self._error,
            "ignored_rows": self.ignored,
        }

    def _find(self, model: str) -> Price:
        rows = [row for row in self._rows if model.startswith(row)]
        if not rows:
            return self._fallback
        row = max(rows, key=len)
        return Price(self._rows[row], False, row)

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
            except Exception as error:  # another team's table must not end the refresh
                _log.exception("prices_refresh_failed")
                self._failed(type(error).__name__)
            await asyncio.sleep(self._refresh_seconds)

    async def _read(self) -> list[tuple[Any, Any]]:
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
            await cursor.execute(_COLUMNS[self._column])
            return await cursor.fetchall()

    def _succeeded(self, rows: list[tuple[Any, Any]]) -> None:
        """Replace the prices by those of ``rows``; skip, count and log rows that are unusable."""
        good: dict[str, Decimal] = {}
        unit = _UNITS[self._column or "input_cost_per_mtok"]
        for model, value in rows:
            price = _usable(value, unit)
            if isinstance(model, str) and model and price is not None:
                good[model] = price
        ignored = len(rows) - len(good)
        if ignored != self.ignored and ignored:
            _log.warning("prices_ignored", rows=ignored)
        self.ignored = ignored
        if self._error is not None or self._read_at is None:
            _log.info("prices_read", models=len(good), schema=self._column)
        self._rows, self._known = good, {}
        self._read_at, self._error = time.time(), None

    def _failed(self, error: str) -> None:
        if self._error != error:  # once per change, without the server's text
            _log.warning("prices_not_read", error=error, kept=len(self._rows))
        self._error = error


def _usable(value: object, unit: int) -> Decimal | None:
    """Return ``value`` times ``unit`` as a price, None unless from 0 to :data:`_HIGHEST`."""
    try:
        price = Decimal(str(value)) * unit  # by way of text: a float's shortest decimal form
    except InvalidOperation:
        return None
    return _rounded(price) if price.is_finite() and 0 <= price <= _HIGHEST else None


def _rounded(price: Decimal) -> Decimal:
    return price.quantize(_STEP, ROUND_HALF_EVEN)


def _conninfo(settings: Settings) -> str | None:
    """Return where the prices are, None where nobody said."""
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
