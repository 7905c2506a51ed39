"""Prices from a real Postgres: both schemas, zero, missing rows, and outages of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.accounting.request_cost import rates_of
from api.accounting.token_prices import Price, Prices
from shared.settings import Settings

from ..farm import Farm, request, until, user
from ..postgres import NEW, OLD, Postgres
from ..texts import conversation, ran, rows

REAL = {
    "claude-opus-4-6": "15",
    "claude-sonnet-4-20250514": "3",
    "claude-haiku-4-5-20251001": "0.80",
    "gpt-4o": "2.50",
    "gpt-4o-mini": "0.15",
    "local-llama": "0",
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _settings(dsn: str | None, **more: Any) -> Settings:
    given: dict[str, Any] = {"pricing_refresh_seconds": 0.05, "pricing_timeout_ms": 2000, **more}
    return Settings(pricing_dsn=dsn, **given)  # type: ignore[arg-type]


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Prices]:
    prices = Prices(settings)
    await prices.start()
    try:
        yield prices
    finally:
        await prices.stop()


async def _until(what: str, condition: Callable[[], object]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)


async def _read(settings: Settings, *models: str) -> list[Price]:
    async with _running(settings) as prices:
        await _until("prices", lambda: prices.state == "ok")
        return [prices.price_of(model) for model in models]


def test_reads_new_schema(postgres: Postgres) -> None:
    postgres.make(NEW, REAL)
    asked = ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "local-llama", "unheard-of", "")
    mini, dated, local, missing, empty = asyncio.run(_read(_settings(postgres.dsn), *asked))
    assert mini == Price(Decimal("0.1500"), False, "gpt-4o-mini")
    assert dated == mini
    assert local == Price(Decimal("0.0000"), False, "local-llama")
    assert missing == empty == Price(Decimal("15.0000"), True, None)


def test_unfilled_cache_prices_are_missing(postgres: Postgres) -> None:
    postgres.make(NEW, REAL)
    postgres.execute(
        "ALTER TABLE model_pricing ADD cache_write_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0",
        "ALTER TABLE model_pricing ADD cache_read_cost_per_mtok NUMERIC(10,4) NOT NULL DEFAULT 0",
        "UPDATE model_pricing SET cache_read_cost_per_mtok = 1.5,"
        " cache_write_cost_per_mtok = 18.75, output_cost_per_mtok = 75"
        " WHERE model = 'claude-opus-4-6'",
    )
    names = ("claude-opus-4-6", "gpt-4o", "local-llama")
    opus, gpt, local = asyncio.run(_read(_settings(postgres.dsn), *names))
    assert (opus.cache_read, opus.cache_write, opus.output) == (
        Decimal("1.5"),
        Decimal("18.75"),
        Decimal(75),
    )
    assert (gpt.cache_read, gpt.cache_write) == (None, None), "the column's default is no price"
    rates = [rates_of(name, price) for name, price in zip(names, (opus, gpt, local), strict=True)]
    assert [(r.input, r.read, r.write, r.write_1h) for r in rates] == [
        (150_000, 15_000, 187_500, 300_000),
        (25_000, 12_500, 25_000, 25_000),
        (0, 0, 0, 0),
    ]


def test_reads_schema_of_compose_profile(postgres: Postgres) -> None:
    schema = Path(__file__).parents[2] / "deploy/docker/metering.sql"
    postgres.execute("DROP TABLE IF EXISTS model_pricing", schema.read_text())
    owner = f"postgresql://owner@127.0.0.1:{postgres.port}/postgres"
    dated, pro = asyncio.run(_read(_settings(owner), "claude-opus-4-6-20260101", "gemini-2.5-pro"))
    assert (dated.per_mtok, dated.fallback) == (Decimal("15"), False)
    assert (pro.per_mtok, pro.fallback) == (Decimal("1.25"), False)


def test_reads_old_schema(postgres: Postgres) -> None:
    postgres.make(OLD, {"gpt-4o": "0.0025", "odd": "NULL"})
    gpt, odd = asyncio.run(_read(_settings(postgres.dsn), "gpt-4o", "odd"))
    assert gpt == Price(Decimal("2.5000"), False, "gpt-4o")
    assert odd.fallback


@pytest.mark.parametrize("column", ["float8", "float4", "numeric", "text", "int8"])
def test_skips_bad_rows_of_any_column_type(postgres: Postgres, column: str) -> None:
    bad = {"minus": "-1", "large": "1e30"} if column != "int8" else {"minus": "-1"}
    if column in ("float8", "float4", "numeric", "text"):
        bad |= {"nan": "'NaN'", "infinite": "'Infinity'"}
    if column == "text":
        bad |= {"word": "'cheap'", "empty": "''"}
    postgres.make(_table(column), {**bad, "unknown": "NULL", "good": "2"})

    async def play() -> None:
        async with _running(_settings(postgres.dsn)) as prices:
            await _until("prices", lambda: prices.state == "ok")
            assert prices.price_of("good") == Price(Decimal("2.0000"), False, "good")
            assert all(prices.price_of(name).fallback for name in (*bad, "unknown"))
            assert prices.ignored == len(bad) + 1
            assert prices.snapshot()["ignored_rows"] == len(bad) + 1
            postgres.execute("UPDATE model_pricing SET input_cost_per_mtok = 3")
            await _until("the next refresh", lambda: prices.price_of("good").per_mtok == 3)
            assert prices.ignored == 0

    asyncio.run(play())


@pytest.mark.parametrize("column", ["float8", "numeric", "text"])
def test_skips_overflowing_row_of_old_schema(postgres: Postgres, column: str) -> None:
    schema = OLD.replace("prompt_cost_per_1k NUMERIC(10,6)", f"prompt_cost_per_1k {column}")
    postgres.make(OLD, {})
    postgres.execute(
        "DROP TABLE model_pricing",
        schema,
        "INSERT INTO model_pricing VALUES ('good', 'x', 0.002), ('large', 'x', 1e307)",
        "GRANT SELECT ON model_pricing TO reader",
    )
    good, large = asyncio.run(_read(_settings(postgres.dsn), "good", "large"))
    assert (good.per_mtok, large.fallback) == (Decimal("2.0000"), True)


def test_skips_rows_with_non_text_model(postgres: Postgres) -> None:
    postgres.make(_table("float8").replace("model TEXT", "model INT"), {"4": "2"})
    (price,) = asyncio.run(_read(_settings(postgres.dsn), "4"))
    assert price.fallback


def test_refresh_survives_an_unexpected_error(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.make(NEW, REAL)
    read = Prices._read
    broken = asyncio.Event()
    broken.set()

    async def failing(self: Prices) -> Any:
        if broken.is_set():
            raise RuntimeError("of a driver")
        return await read(self)

    async def play() -> None:
        async with _running(_settings(postgres.dsn)) as prices:
            await _until("it is told", lambda: prices.snapshot()["last_error"] == "RuntimeError")
            broken.clear()
            await _until("prices", lambda: prices.state == "ok")
            assert prices.price_of("gpt-4o").per_mtok == Decimal("2.5")

    monkeypatch.setattr(Prices, "_read", failing)
    asyncio.run(play())


def _table(column: str) -> str:
    """Return the table's schema with a price column of this type."""
    return f"""CREATE TABLE model_pricing (model TEXT PRIMARY KEY, provider TEXT NOT NULL,
      input_cost_per_mtok {column})"""


def test_connects_with_single_settings_without_dsn(postgres: Postgres) -> None:
    postgres.make(NEW, REAL)
    settings = _settings(
        None,
        pricing_pg_host="127.0.0.1",
        pricing_pg_port=postgres.port,
        pricing_pg_db="postgres",
        pricing_pg_user="reader",
        pricing_pg_password=postgres.password,
    )
    (price,) = asyncio.run(_read(settings, "gpt-4o"))
    assert price.per_mtok == Decimal("2.5")
    assert postgres.password not in repr(settings)


def test_keeps_last_prices_while_server_is_down() -> None:
    server = Postgres()

    async def play() -> None:
        async with _running(_settings(server.dsn)) as prices:
            await _until("it says so", lambda: prices.snapshot()["last_error"])
            assert prices.price_of("gpt-4o").source == "price_map"
            assert prices.snapshot()["source"] == "price_map"
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(server.make, NEW, {"gpt-4o": "2.5"})
            await _until("read", lambda: prices.state == "ok")
            await asyncio.to_thread(server.stop)
            await _until("noticed", lambda: prices.state == "unreachable")
            assert prices.price_of("gpt-4o").per_mtok == Decimal("2.5")
            assert prices.snapshot()["source"] == "postgres"
            await asyncio.to_thread(server.start)
            server.execute("UPDATE model_pricing SET input_cost_per_mtok = 9")
            await _until("new price", lambda: prices.price_of("gpt-4o").per_mtok == 9)
            assert prices.state == "ok"

    try:
        asyncio.run(play())
    finally:
        server.remove()


def test_keeps_last_prices_when_server_is_slow(postgres: Postgres) -> None:
    postgres.make(NEW, REAL)

    async def play() -> None:
        async with _running(_settings(postgres.dsn)) as prices:
            await _until("read", lambda: prices.state == "ok")
            with postgres.connect() as owner:
                owner.execute("BEGIN; LOCK TABLE model_pricing IN ACCESS EXCLUSIVE MODE")
                await _until("cut off", lambda: prices.snapshot()["last_error"] == "QueryCanceled")
                assert prices.price_of("gpt-4o").per_mtok == Decimal("2.5")
            await _until("read again", lambda: prices.state == "ok")

    asyncio.run(play())


def test_transactions_are_read_only(postgres: Postgres) -> None:
    postgres.make(NEW, REAL)
    postgres.execute("GRANT UPDATE ON model_pricing TO reader")

    async def play() -> None:
        async with _running(_settings(postgres.dsn)) as prices:
            await _until("read", lambda: prices.state == "ok")
            assert prices._pool is not None
            async with prices._pool.connection() as connection:
                with pytest.raises(Exception, match="read-only transaction"):
                    await connection.execute("UPDATE model_pricing SET input_cost_per_mtok = 0")
                await connection.rollback()

    asyncio.run(play())


def test_without_database_opens_no_connection() -> None:
    async def play() -> None:
        async with _running(_settings(None, cost_per_mtok="7.25")) as prices:
            assert prices.state == "not_configured"
            assert prices.price_of("unheard-of") == Price(Decimal("7.2500"), True)
            assert prices._pool is None

    asyncio.run(play())


@given(
    st.dictionaries(st.text("ab-4", min_size=1, max_size=6), st.integers(0, 99)), st.text("ab-4")
)
def test_longest_model_prefix_wins(table: dict[str, int], model: str) -> None:
    prices = Prices(_settings(None))
    prices._succeeded([(name, Decimal(price)) for name, price in table.items()])
    prefixes = [model[:n] for n in range(len(model), 0, -1) if model[:n] in table]
    found = prices.price_of(model)
    assert found.row == (prefixes[0] if prefixes else None)
    assert found.fallback is (not prefixes)


def test_history_keeps_the_price_of_its_time(
    own_farm: Callable[..., Farm], postgres: Postgres
) -> None:
    postgres.make(NEW, {"claude": "3", "free": "0"})
    farm = own_farm(pricing_dsn=postgres.dsn, pricing_refresh_seconds=0.1).start(gpu=0)
    until("prices", lambda: farm.get("/pricing").json["source"] == "postgres")
    assert farm.get("/readyz").json["db"] == "ok"
    assert b"headroom_prices_age_seconds " in farm.get("/metrics").body
    assert b"headroom_prices_ignored_rows 0.0" in farm.get("/metrics").body
    name = user()
    body = conversation(ran(rows(name)))
    saved = farm.post({**body, "model": "claude-x"}, name).json["tokens_saved"]
    farm.post({**body, "model": "free"}, name)
    postgres.execute("UPDATE model_pricing SET input_cost_per_mtok = 300 WHERE model = 'claude'")
    until("new price", lambda: farm.get("/pricing").json["models"]["claude"] == 300.0)
    stats = farm.get("/stats").json
    cost = stats["summary"]["cost"]
    assert cost["list_price_saved_usd"] == pytest.approx(saved * 3 / 1e6)
    assert [line["cost_per_mtok"] for line in stats["recent_requests"]] == [3.0, 0.0]
    with postgres.connect() as owner:
        owner.execute("BEGIN; LOCK TABLE model_pricing IN ACCESS EXCLUSIVE MODE")
        assert farm.post({**body, "model": "claude-x"}, name).status == 200
    assert postgres.password not in farm.logs()
    shown = Path(f"/proc/{farm.parts[-1].pid}/cmdline").read_bytes()
    assert postgres.password.encode() not in shown
    asked = request(farm.url, "GET", "/pricing?model=claude-later").json["asked"]
    assert (asked["row"], asked["per_mtok"], asked["source"]) == ("claude", 300.0, "postgres")
    assert [asked[f"cache_{kind}_per_mtok"] for kind in ("read", "write", "write_1h")] == [
        30.0,
        375.0,
        600.0,
    ]
    mapped = request(farm.url, "GET", "/pricing?model=gpt-4o-mini-2024-07-18").json["asked"]
    assert (mapped["source"], mapped["per_mtok"]) == ("price_map", 0.15)
    assert mapped["cache_read_per_mtok"] == 0.075
