"""Which requests are so quick that a worker thread would cost more than it saves."""

from typing import Final
from weakref import WeakKeyDictionary

from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.settings import ServingSettings

_DECAY: Final = 0.95
"""A slow run is forgotten over some twenty quick ones."""


class Pace:
    """Remembers how long each served model takes: the largest time of late, forgotten slowly."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._slowest_ms: WeakKeyDictionary[ServedModel, float] = WeakKeyDictionary()

    def is_quick(self, served: ServedModel, body_bytes: int) -> bool:
        """Whether a request may be answered in the event loop; a model that has not run yet is not quick."""
        slowest_ms = self._slowest_ms.get(served)
        is_small = body_bytes <= self._settings.in_place_bytes
        return is_small and slowest_ms is not None and slowest_ms <= self._settings.in_place_ms

    def note(self, served: ServedModel, took_ms: float) -> None:
        """Take note of one run, from its body to its answer, in milliseconds."""
        self._slowest_ms[served] = max(took_ms, _DECAY * self._slowest_ms.get(served, took_ms))
