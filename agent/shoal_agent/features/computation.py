"""What a pipeline computes: events of messages into the windows of each definition, and the clock that closes them.

Nothing here waits or does I/O; it runs in a worker thread, one call at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shoal_agent.features.errors import FeaturesError
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import FeatureDefinition, Pipeline
from shoal_numerics import FeatureError
from shoal_numerics.features import FeatureWindows, WindowRows, begin_windows, dump_windows, load_windows
from shoal_numerics.features.events import Arrival, EventReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = getLogger(__name__)


class Closed(NamedTuple):
    """Windows of one definition that have closed."""

    definition: str
    rows: WindowRows


class EventClock:
    """What time it is among a pipeline's events: that of the latest one, and what has passed since.

    Events of the past, which a file may hold, so close windows of the past, whatever the device's clock says.
    """

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._monotonic_ns = monotonic_ns
        self._lead_ns: int | None = None

    def note(self, times_ns: NDArray[np.int64]) -> None:
        """Take note of events."""
        if len(times_ns):
            lead_ns = int(times_ns.max()) - self._monotonic_ns()
            self._lead_ns = lead_ns if self._lead_ns is None else max(lead_ns, self._lead_ns)

    def now_ns(self) -> int | None:
        """Return the time, None before the first event."""
        return None if self._lead_ns is None else self._lead_ns + self._monotonic_ns()


class Computation:
    """The definitions of one pipeline.

    Args:
        pipeline: What it is.
        definitions: Those that it names.
        states: Where their windows go on, by definition, see `dump_windows`; one that does not fit begins empty.
        settings: Bounds.
        monotonic_ns: A clock that only rises.

    Raises:
        FeaturesError: A definition is not there, or can not be computed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        definitions: Mapping[str, FeatureDefinition],
        states: Mapping[str, bytes],
        settings: FeatureSettings,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.windows = {name: _windows(name, definitions, states.get(name)) for name in pipeline.definitions}
        fields = sorted({field for one in self.windows.values() for field in one.plan.fields})
        self._columns = {name: [fields.index(one) for one in w.plan.fields] for name, w in self.windows.items()}
        self.reader = EventReader(pipeline.form, fields, settings)
        self._clock = EventClock(monotonic_ns)
        self._grace_ns = int(settings.grace_s * 1e9)
        self.place = ""

    @property
    def step_s(self) -> float:
        """How often a window by time closes at most; infinity if there is none."""
        plans = [one.plan for one in self.windows.values()]
        return min((plan.pane / 1e9 for plan in plans if not plan.is_count), default=float("inf"))

    def take(self, arrivals: Sequence[Arrival]) -> list[Closed]:
        """Compute messages in the order in which they came, and return the windows that have closed meanwhile."""
        batch = self.reader.read(arrivals)
        self._clock.note(batch.times_ns)
        now_ns, closed = self._clock.now_ns(), []
        for name, windows in self.windows.items():
            values = batch.values[:, self._columns[name]]
            closed.append(Closed(name, windows.add(batch.entities, batch.times_ns, values)))
            if now_ns is not None:
                closed.append(Closed(name, windows.advance(now_ns - self._grace_ns)))
        if arrivals and arrivals[-1].place:
            self.place = arrivals[-1].place
        return [one for one in closed if one.rows.entities]

    def states(self) -> dict[str, bytes]:
        """Return where the windows go on after a restart, by definition."""
        return {name: dump_windows(one) for name, one in self.windows.items()}


def _windows(name: str, definitions: Mapping[str, FeatureDefinition], state: bytes | None) -> FeatureWindows:
    if name not in definitions:
        message = f"computing the definition {name!r}: the desired state has {', '.join(sorted(definitions)) or 'none'}"
        raise FeaturesError(message, "define it, or take it out of the pipeline")
    try:
        windows = begin_windows(definitions[name])
    except FeatureError as error:
        raise FeaturesError(f"computing the definition {name!r}: {error}") from error
    if state is None:
        return windows
    try:
        return load_windows(definitions[name], state)
    except FeatureError as error:
        _log.warning("features: the windows of %s begin empty: %s", name, error)
        return windows
