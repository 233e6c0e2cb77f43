"""All that the board says at one moment, read at most once a second however many ask."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_agent.board.power import Rail, power_rails
from shoal_agent.board.temperatures import Zone, thermal_zones
from shoal_agent.board.throttling import Throttle, ask_vcgencmd, throttles

_FRESH_S: Final = 1.0


@dataclass(frozen=True)
class Readings:
    """What was read."""

    zones: tuple[Zone, ...]
    throttles: tuple[Throttle, ...]
    rails: tuple[Rail, ...]


class Board:
    """The board, for whoever asks. Reading may take some milliseconds, as chips answer slowly: not in the event loop.

    Args:
        root: Where `sys` and `dev` are looked for.
        ask: Asks a Raspberry Pi's firmware, see `throttles`.
        monotonic: Seconds that only rise.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        ask: Callable[[], str] = ask_vcgencmd,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._ask = ask
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._latest: tuple[float, Readings] | None = None

    def read(self) -> Readings:
        """Return what the board says now, or said within the last second. Any thread may call."""
        with self._lock:
            now_s = self._monotonic()
            if self._latest is None or now_s - self._latest[0] >= _FRESH_S:
                readings = Readings(thermal_zones(self.root), throttles(self.root, self._ask), power_rails(self.root))
                self._latest = (now_s, readings)
            return self._latest[1]
