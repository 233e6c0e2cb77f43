"""How many values of inputs are sketched, so that watching has a bound however many requests come. Pure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal_agent.settings import MonitorSettings

_BURST_S: Final = 1.0


class SketchBudget:
    """Fills by time, is emptied by values; in any stretch of `t` seconds at most `(t + 2) * max_values_per_s` pass.

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

    def takes_one(self, width: int, now_s: float) -> bool:
        """Take out one row, if there is enough.

        Args:
            width: Values of a row.
            now_s: The clock.
        """
        if self._left < width:
            self._fill(now_s)
            if self._left < min(width, self._burst):
                return False
        self._left -= width
        return True

    def take(self, rows: NDArray[np.float32], now_s: float) -> NDArray[np.float32]:
        """Return the rows of one request that are sketched: all, or some evenly spaced, or none.

        Args:
            rows: (n, features) float32.
            now_s: The clock.
        """
        count, width = rows.shape
        if count * width > self._left:
            self._fill(now_s)
        most = min(self._left, self._settings.max_values_per_request)
        kept = min(count, int(most // width))
        if not kept and self._left >= self._burst:
            kept = min(count, 1)
        self._left -= kept * width
        return rows if kept == count else rows[np.arange(kept) * count // max(1, kept)]

    def _fill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._filled_s)
        self._left = min(self._burst, self._left + passed_s * self._settings.max_values_per_s)
        self._filled_s = now_s
