"""What a model's input costs."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million input tokens; ``row`` is the table's row it came from."""

    per_mtok: Decimal
    fallback: bool
    row: str | None = None


class Prices:
    """The prices known to this process."""

    def price_of(self, model: str) -> Price:
        """Return the price of ``model``."""
        return Price(Decimal("15.0000"), True)
