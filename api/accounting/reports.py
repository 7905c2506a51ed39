"""The bodies of ``/stats``, ``/stats/insights``, ``/stats-history`` and ``/sessions``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.errors import InvalidField
from shared.settings import Settings

from .ledger import USER_HOURS, day_of, hour_of
from .time_range import TimeRange
from .usage_reader import Reader, Row, Rows
from .usage_record import money

MAX_SESSIONS_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Question:
    """A query of the ledger: a time range, and all users and models or one of them."""

    window: TimeRange
    user: str | None = None
    model: str | None = None
    daily: bool = False

    def __post_init__(self) -> None:
        if self.user is not None and self.model is not None:
            raise InvalidField("'user' and 'model' cannot be combined")

    @property
    def everybody(self) -> bool:
        """Whether it covers all users and models."""
        return self.user is None and self.model is None

    @property
    def prefix(self) -> str:
        """The prefix of its rows in a bucket."""
        if self.user is not None:
            return f"u\x1f{self.user}"
        return "t" if self.model is None else f"m\x1f{self.model}"

    def holds(self, line: dict[str, Any]) -> bool:
        """Return whether a line of a ring belongs to it."""
        return (
            (self.user is None or line["tags"]["user-id"] == self.user)
            and (self.model is None or line["model"] == self.model)
            and self.window.holds(line["timestamp"])
        )

    def as_json(self) -> dict[str, Any]:
        """Return it in the format of reports."""
        return {**self.window.as_json(), "user": self.user, "model": self.model}


class Reports:
    """Builds reports from counters. Only here are money and percentages converted to floats."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings = settings
        self._reader = reader

    async def stats(self, question: Question) -> dict[str, Any]:
        """Return the body of ``GET /stats``."""
        rows = await self._rows(question, question.window)
        ring = await self._reader.ring("recent")
        recent = [line for line in ring if question.holds(line)]
        recent.sort(key=lambda line: str(line["timestamp"]))  # of several processes
        row = rows.total
        summary: dict[str, Any] = {
            "api_requests": row.get("requests", 0),
            "compression": {
                "requests_compressed": row.get("compressed", 0),
                "avg_compression_pct": _average(row),
                "total_tokens_removed": row.get("saved", 0),
                "best_compression_pct": rows.best / 100,
                "best_detail": rows.best_detail,
            },
            "uncompressed_requests": {
                "total": row.get("requests", 0) - row.get("compressed", 0),
                "reasons": named(row, "n:"),
            },
            "cost": {
                "without_headroom_usd": _usd(row, "without"),
                "with_headroom_usd": _usd(row, "without", "cost"),
                "total_saved_usd": _usd(row, "cost"),
                "list_price_saved_usd": _usd(row, "list"),
                "requests_that_cost_more": row.get("costlier", 0),
                "cost_more_usd": _usd(row, "costlier_cost"),
                **_measured(row),
            },
        }
        return {"window": question.as_json(), "summary": summary, "recent_requests": recent}

    async def insights(self, question: Question) -> dict[str, Any]:
        """Return the body of ``GET /stats/insights``.

        Transforms are counted only in total, so for one user or model they are null. Engines,
        degraded answers and cache use are null after the end of their retention. Days are
        included only on demand, because they require reading a year of buckets.
        """
        window, everybody = question.window, question.everybody
        rows = await self._rows(question, window)
        row, detailed = rows.total, everybody or window.detailed
        if everybody:
            users, models = await self._reader.users(window), rows.models
        else:
            users = {question.user: row} if question.user is not None else {}
            models = {question.model: row} if question.model is not None else {}
        return {
            "window": question.as_json(),
            "total_requests": row.get("requests", 0),
            "engines": _engines(row) if detailed else None,
            "transforms_detail": named(row, "x:") if everybody else None,
            "degraded": named(row, "d:") if detailed else None,
            "cache": _cache(row) if detailed else None,
            "by_model": _table("model", models),
            "by_user": _table("user", users),
            "hourly": await self._hourly(question, _hour),
            "daily": await self._daily(question) if question.daily else None,
        }

    async def history(self, question: Question) -> dict[str, Any]:
        """Return the body of ``GET /stats-history``; ``lifetime`` always covers all time.

        ``total_tokens_saved`` and ``compression_savings_usd`` of a line of ``history`` are
        the running totals of the ledger, as in headroom's own savings file.
        """
        total = (await self._rows(question, TimeRange())).total
        lines = [line for line in await self._reader.ring("history") if question.holds(line)]
        for line in lines:
            line["compression_savings_usd"] = float(money(int(line.pop("total_cost_units"))))
        return {
            "window": question.as_json(),
            "lifetime": {
                "requests": total.get("requests", 0),
                "tokens_saved": total.get("saved", 0),
                "compression_savings_usd": _usd(total, "cost"),
                "list_price_saved_usd": _usd(total, "list"),
                "total_input_tokens": total.get("after", 0),
                "total_input_cost_usd": _usd(total, "input_cost"),
            },
            "history": lines,
            "series": {"hourly": await self._hourly(question, _point)},
        }

    async def sessions(self, limit: int) -> dict[str, Any]:
        """Return the body of ``GET /sessions``."""
        count, shown = await self._reader.sessions(min(limit, MAX_SESSIONS_SHOWN))
        return {
            "active_sessions": count,
            "max_sessions": self._settings.max_user_sessions,
            "session_ttl_seconds": self._settings.session_ttl,
            "sessions": shown,
        }

    async def _rows(self, question: Question, window: TimeRange) -> Rows:
        """Return the rows of ``question`` as totals."""
        rows = await self._reader.totals(window)
        if question.everybody:
            return rows
        return await self._reader.one(window, question.prefix, rows.total)

    async def _daily(self, question: Question) -> list[dict[str, Any]]:
        """Return one line per day from the first day with requests; none for a range of hours."""
        days = question.window.days(self._settings.books_days)
        rows = await self._reader.series([day_of(day) for day in days], question.prefix)
        lines = [
            {"day": day.date().isoformat(), **_hour(row)}
            for day, row in zip(days, rows, strict=True)
        ]
        first = next((i for i, line in enumerate(lines) if line["requests"]), len(lines))
        return lines[first:]

    async def _hourly(
        self, question: Question, shape: Callable[[Row], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the window's hours; for a user, only those within retention."""
        hours = question.window.hours
        if question.user is not None:
            oldest = datetime.now(UTC) - USER_HOURS
            hours = [hour for hour in hours if hour > oldest]
        rows = await self._reader.series([hour_of(hour) for hour in hours], question.prefix)
        return [
            {"hour": hour.isoformat(), **shape(row)} for hour, row in zip(hours, rows, strict=True)
        ]


def _table(name: str, rows: dict[str, Row]) -> list[dict[str, Any]]:
    """Return one line per name, sorted by tokens saved, most first."""
    ordered = sorted(rows.items(), key=lambda item: (-item[1].get("saved", 0), item[0]))
    return [
        {
            name: key,
            "requests": row.get("requests", 0),
            "compressed": row.get("compressed", 0),
            "tokens_saved": row.get("saved", 0),
            "total_input": row.get("before", 0),
            "avg_compression_pct": _average(row),
            "cost_without_usd": _usd(row, "without"),
            "cost_saved_usd": _usd(row, "cost"),
            "list_price_saved_usd": _usd(row, "list"),
            "requests_that_cost_more": row.get("costlier", 0),
            "measured_usd": _usd(row, "measured_cost"),
        }
        for key, row in ordered
        if row.get("requests", 0)
    ]


def _hour(row: Row) -> dict[str, Any]:
    return {
        "requests": row["requests"],
        "compressed": row["compressed"],
        "tokens_saved": row["saved"],
        "avg_pct": _average(row),
        "cost_saved_usd": _usd(row, "cost"),
        "cost_without_usd": _usd(row, "without"),
    }


def _point(row: Row) -> dict[str, Any]:
    return {
        "requests": row["requests"],
        "tokens_saved": row["saved"],
        "total_input_tokens": row["before"] - row["saved"],
        "compression_savings_usd": _usd(row, "cost"),
        "list_price_saved_usd": _usd(row, "list"),
    }


def _measured(row: Row) -> dict[str, Any]:
    """Return the usage that providers reported: cost of input and output, and tokens."""
    kinds = ("uncached", "written", "read", "output")
    return {
        "measured_requests": row.get("measured", 0),
        "measured_usd": _usd(row, "measured_cost"),
        "measured_output_usd": _usd(row, "measured_output_cost"),
        "measured_tokens": {kind: row.get(f"measured_{kind}", 0) for kind in kinds},
    }


def _engines(total: Row) -> dict[str, dict[str, int]]:
    engines: dict[str, dict[str, int]] = {}
    for field, amount in named(total, "e:").items():
        name, _, what = field.rpartition(":")
        engines.setdefault(name, {})["tokens_saved" if what == "saved" else what] = amount
    return engines


def _cache(total: Row) -> dict[str, int]:
    return {"hits": total.get("hits", 0), "misses": total.get("misses", 0)}


def named(row: Mapping[str, float], prefix: str) -> dict[str, int]:
    """Return the counters with ``prefix`` that are not 0, by name without the prefix."""
    start = len(prefix)
    return {
        name[start:]: int(n) for name, n in sorted(row.items()) if name.startswith(prefix) and n
    }


def _average(row: Row) -> float:
    """Return the percentage of all compressed requests' tokens that was removed."""
    before = row.get("compressed_before", 0)
    return round(100 * row.get("saved", 0) / before, 2) if before else 0.0


def _usd(row: Row, name: str, less: str | None = None) -> float:
    units = row.get(name, 0) - (row.get(less, 0) if less else 0)
    return float(money(units))
