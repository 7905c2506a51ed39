"""A report's time range, and the buckets of the ledger that it covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.errors import InvalidField

from .ledger import DETAIL_DAYS, day_of, hour_of

RANGES = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "all": None,
}
_HOURLY, _SLACK = timedelta(hours=48), timedelta(minutes=1)
_MAX_HOURS = 744
_LONGEST = timedelta(days=4000)
"""Longest retention that the setting allows."""
_YEARS = range(1900, 9999)
"""Years of a range's ends: :data:`_LONGEST` before them and a bucket behind them are times, too."""
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From ``since`` to ``until`` (UTC), widened to whole buckets; without them, all time.

    Ranges within the last 48 hours consist of hours, other ranges of days.
    """

    since: datetime | None = None
    until: datetime | None = None
    resolution: str = "all"

    @classmethod
    def parse(cls, named: str | None, since: str | None, until: str | None) -> TimeRange:
        """Read query parameters: a range's name, or ISO 8601 times or epoch seconds.

        Raises:
            InvalidField: a parameter is invalid, or the end is before the start.
        """
        now = datetime.now(UTC)
        if named is not None and named not in RANGES:
            raise InvalidField(f"'range' must be one of {', '.join(RANGES)}")
        span = RANGES[named] if named else None
        start = _time("since", since) if since else (now - span if span else None)
        end = _time("until", until) if until else now
        if start is None and not until:
            return cls()
        if start is not None and end < start:
            raise InvalidField("'until' is before 'since'")
        oldest = end - _LONGEST
        start = max(start or oldest, oldest)
        if end - start <= _HOURLY and now - start <= _HOURLY + _SLACK:
            return cls(start.replace(minute=0, second=0, microsecond=0), end, "hour")
        return cls(start.replace(hour=0, minute=0, second=0, microsecond=0), end, "day")

    @property
    def buckets(self) -> list[str]:
        """The names of its buckets, oldest first."""
        if self.since is None or self.until is None:
            return ["life"]
        step, name = (_HOUR, hour_of) if self.resolution == "hour" else (_DAY, day_of)
        names, at = [], self.since
        while at <= self.until:
            names.append(name(at))
            at += step
        return names

    @property
    def detailed(self) -> bool:
        """Whether the detail of users and models is kept for the whole range."""
        return self.resolution != "day" or (
            self.since is not None and datetime.now(UTC) - self.since < DETAIL_DAYS
        )

    @property
    def hours(self) -> list[datetime]:
        """The hours to chart: at most the last 31 days of the range; without one, a day."""
        until = self.until or datetime.now(UTC)
        since = self.since or until - timedelta(hours=23)
        last = until.replace(minute=0, second=0, microsecond=0)
        count = min(_MAX_HOURS, int((last - since) / _HOUR) + 1)
        return [last - i * _HOUR for i in reversed(range(count))]

    def days(self, kept: int) -> list[datetime]:
        """The days to chart: those within the last ``kept`` days; none for a range of hours."""
        if self.resolution == "hour":
            return []
        last = (self.until or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
        count = kept if self.since is None else min(kept, (last - self.since) // _DAY + 1)
        return [last - i * _DAY for i in reversed(range(count))]

    def holds(self, stamp: str) -> bool:
        """Return whether an ISO 8601 time is in the range."""
        if self.since is None or self.until is None:
            return True
        return self.since <= datetime.fromisoformat(stamp) <= self.until

    def as_json(self) -> dict[str, str | None]:
        """Return it in the format of reports."""
        return {
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "resolution": self.resolution,
        }


def _time(name: str, text: str) -> datetime:
    try:
        if text.replace(".", "", 1).isdigit():
            found = datetime.fromtimestamp(float(text), UTC)
        else:
            found = datetime.fromisoformat(text)
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidField(f"'{name}' must be an ISO 8601 time or epoch seconds") from None
    if found.year not in _YEARS:
        raise InvalidField(f"'{name}' must be in the years {_YEARS[0]} to {_YEARS[-1]}")
    return found
