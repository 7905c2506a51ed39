"""How fast something goes of late: an amount a second, where the last turns weigh most."""

from __future__ import annotations


class Pace:
    """``keeps`` is what a turn still weighs when the next one is noted, from 0 to below 1."""

    def __init__(self, keeps: float) -> None:
        self._keeps = keeps
        self._amount = 0.0
        self._seconds = 0.0

    def note(self, amount: float, seconds: float) -> None:
        """A turn did ``amount`` in ``seconds``."""
        self._amount = self._amount * self._keeps + amount
        self._seconds = self._seconds * self._keeps + seconds

    @property
    def a_second(self) -> float | None:
        """The amount a second; None where nothing was noted yet."""
        return self._amount / self._seconds if self._seconds else None
