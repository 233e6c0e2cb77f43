"""Which requests are so quick that a worker thread would cost more than it saves."""

from collections.abc import Hashable
from typing import Final
from weakref import WeakKeyDictionary

from shoal_agent.serving.models import ServedModel
from shoal_agent.settings import ServingSettings

_WEIGHT: Final = 0.1
"""Of the newest run in the mean."""
_DECAY: Final = 0.95
"""A slow run is forgotten over some twenty quick ones."""


class Pace:
    """Remembers how long requests of each kind take a served model: the largest time of late, forgotten slowly.

    A kind is a form and a size, to a power of two: text takes ten times as long to read as the same tensor in binary.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._mean_ms: WeakKeyDictionary[ServedModel, float] = WeakKeyDictionary()
        self._slowest_ms: WeakKeyDictionary[ServedModel, dict[Hashable, float]] = WeakKeyDictionary()

    def is_quick(self, served: ServedModel, form: Hashable, body_bytes: int) -> bool:
        """Whether a request may be answered in the event loop; of a kind that has not been yet it is not quick."""
        kinds = self._slowest_ms.get(served)
        if kinds is None:
            return False
        slowest_ms = kinds.get((form, body_bytes.bit_length()))
        return slowest_ms is not None and slowest_ms <= self._settings.in_place_ms

    def note(self, served: ServedModel, form: Hashable, body_bytes: int, took_ms: float) -> None:
        """Take note of one run, from its body to its answer, in milliseconds."""
        kinds = self._slowest_ms.setdefault(served, {})
        kind = (form, body_bytes.bit_length())
        kinds[kind] = max(took_ms, _DECAY * kinds.get(kind, took_ms))
        mean_ms = self._mean_ms.get(served, took_ms)
        self._mean_ms[served] = mean_ms + _WEIGHT * (took_ms - mean_ms)

    def mean_ms(self, served: ServedModel) -> float:
        """Return how long a run of this model takes of late, whatever its kind; 0 before the first."""
        return self._mean_ms.get(served, 0.0)
