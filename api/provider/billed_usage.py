"""Sums the reported usage of several answers that the client gets as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def add_usage(usages: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """Return the sum: whole numbers are added, also in nested objects; other values are the last.

    A field that is null or absent in an answer is ignored there. Lists, which report single steps,
    are concatenated.
    """
    total: dict[str, Any] = {}
    for usage in usages:
        for name, value in (usage or {}).items():
            total[name] = _add(total.get(name), value)
    return total


def _add(before: Any, value: Any) -> Any:
    if value is None:
        return before
    if isinstance(value, dict):
        return add_usage([before if isinstance(before, dict) else None, value])
    if isinstance(value, list) and isinstance(before, list):
        return [*before, *value]
    numbers = isinstance(value, int) and isinstance(before, int)
    if numbers and not isinstance(value, bool):
        return before + value
    return value
