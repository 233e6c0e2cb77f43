"""Which requests are so quick that a worker thread would cost more than it saves."""

from collections.abc import Hashable
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from shoal_agent.serving.models import ServedModel
from shoal_agent.settings import ServingSettings

_WEIGHT: Final = 0.1
"""Of the newest run in the mean."""
_DECAY: Final = 0.95
"""Slow runs are forgotten over some twenty quick ones."""


class _Slowest(NamedTuple):
    """The two largest times of late, in milliseconds."""

    first_ms: float
    second_ms: float

    def and_then(self, took_ms: float) -> "_Slowest":
        """Return them after one more run."""
        first_ms, second_ms = _DECAY * self.first_ms, _DECAY * self.second_ms
        return _Slowest(max(took_ms, first_ms), max(min(took_ms, first_ms), second_ms))

    def times(self, factor: float) -> "_Slowest":
        """Return them for a version that takes so many times as long."""
        return _Slowest(self.first_ms * factor, self.second_ms * factor)


_Kinds = dict[Hashable, _Slowest]


class Pace:
    """Remembers how long requests of each kind take a served model: the second largest time of late.

    The largest one alone says little of a model: a run that waits for Python's lock or for a processor takes long, too.
    In a swap many do, and in a worker they would wait even longer. What is slow is so again, and is forgotten slowly.

    A kind is a form and a size, to a power of two: text takes ten times as long to read as the same tensor in binary.
    A new version of a model is taken to be as quick as the one before, but for what its self-test took longer.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._mean_ms: WeakKeyDictionary[ServedModel, float] = WeakKeyDictionary()
        self._kinds: WeakKeyDictionary[ServedModel, _Kinds] = WeakKeyDictionary()
        self._latest: dict[str, tuple[float, _Kinds]] = {}
        """By a model's name: of the version that came last, how long its self-test took, and its kinds."""

    def is_quick(self, served: ServedModel, form: Hashable, body_bytes: int) -> bool:
        """Whether a request may be answered in the event loop; of a kind that has not been yet it is not quick."""
        slowest = self._kinds_of(served).get((form, body_bytes.bit_length()))
        return slowest is not None and slowest.second_ms <= self._settings.in_place_ms

    def note(self, served: ServedModel, form: Hashable, body_bytes: int, took_ms: float) -> None:
        """Take note of one run, from its body to its answer, in milliseconds."""
        kinds, kind = self._kinds_of(served), (form, body_bytes.bit_length())
        before = kinds.get(kind)
        kinds[kind] = before.and_then(took_ms) if before is not None else _Slowest(took_ms, took_ms)
        mean_ms = self._mean_ms.get(served, took_ms)
        self._mean_ms[served] = mean_ms + _WEIGHT * (took_ms - mean_ms)

    def mean_ms(self, served: ServedModel) -> float:
        """Return how long a run of this model takes of late, whatever its kind; 0 before the first."""
        return self._mean_ms.get(served, 0.0)

    def _kinds_of(self, served: ServedModel) -> _Kinds:
        """Return what is known of a version; of a new one, what its self-test and the version before let expect."""
        kinds = self._kinds.get(served)
        if kinds is None:
            before_s, known = self._latest.get(served.name, (0.0, {}))
            is_tested = before_s > 0.0 and served.self_test_s > 0.0
            factor = max(1.0, served.self_test_s / before_s) if is_tested else 1.0
            kinds = {kind: slowest.times(factor) for kind, slowest in known.copy().items()} if is_tested else {}
            self._kinds[served] = kinds
            self._latest[served.name] = served.self_test_s, kinds
        return kinds
