"""How many values of inputs are sketched, so that watching has a bound however many requests come. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from shoal_agent.settings import MonitorSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BURST_S: Final = 1.0


class SketchBudget:
    """Fills by time, is emptied by rows: in any `t` seconds at most `(t + 2) * max_values_per_s` values pass.

    One row passes a full budget, however wide it is: the widest model is watched, too, now and then. Not safe for
    concurrent use.

    Args:
        settings: The bounds.
        now_s: A clock that only rises, in seconds.
    """

    def __init__(self, settings: MonitorSettings, now_s: float) -> None:
        self._settings = settings
        self._burst = settings.max_values_per_s * _BURST_S
        self._left = self._burst
        self._filled_s = now_s

    def grant(self, rows: int, width: int, now_s: float) -> int:
        """Return how many of some rows may be sketched; they count as sketched.

        Args:
            rows: How many are wanted.
            width: Values of each.
            now_s: The clock.
        """
        if rows * width > self._left:
            passed_s = max(0.0, now_s - self._filled_s)
            self._left = min(self._burst, self._left + passed_s * self._settings.max_values_per_s)
            self._filled_s = now_s
        granted = max(0, min(rows, int(self._left // width)))
        if not granted and self._left >= self._burst:
            granted = min(rows, 1)
        self._left -= granted * width
        return granted

    def give_back(self, rows: int, width: int) -> None:
        """Take back rows that were granted and did not come."""
        self._left = min(self._burst, self._left + rows * width)

    def choose(self, rows: NDArray[np.float32], now_s: float) -> NDArray[np.float32]:
        """Return the rows of one request that are sketched: all, or some evenly spaced, or none.

        Args:
            rows: (n, features) float32.
            now_s: The clock.
        """
        count, width = rows.shape
        granted = self.grant(min(count, max(1, self._settings.max_values_per_request // width)), width, now_s)
        return rows if granted == count else rows[np.arange(granted) * count // max(1, granted)]
