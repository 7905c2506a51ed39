"""A moving average of a rate per second, weighted towards the latest measurements."""

from __future__ import annotations


class Pace:
    """A rate. Each measurement multiplies the weight of earlier ones by ``keeps``, in [0, 1)."""

    def __init__(self, keeps: float) -> None:
        self._keeps = keeps
        self._amount = 0.0
        self._seconds = 0.0

    def note(self, amount: float, seconds: float) -> None:
        """Add a measurement: ``amount`` was processed in ``seconds``."""
        self._amount = self._amount * self._keeps + amount
        self._seconds = self._seconds * self._keeps + seconds

    @property
    def a_second(self) -> float | None:
        """The amount per second; None before the first measurement."""
        return self._amount / self._seconds if self._seconds else None
