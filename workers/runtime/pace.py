"""A recent rate: an amount per second, in which the latest measurements weigh most."""

from __future__ import annotations


class Pace:
    """``keeps`` is the weight that a measurement keeps with each later one: from 0 to below 1."""

    def __init__(self, keeps: float) -> None:
        self._keeps = keeps
        self._amount = 0.0
        self._seconds = 0.0

    def note(self, amount: float, seconds: float) -> None:
        """Add a measurement: ``amount`` was done in ``seconds``."""
        self._amount = self._amount * self._keeps + amount
        self._seconds = self._seconds * self._keeps + seconds

    @property
    def a_second(self) -> float | None:
        """The amount per second; None without any measurement."""
        return self._amount / self._seconds if self._seconds else None
