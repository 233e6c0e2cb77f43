"""Computes the features of kept events all at once: the batch path, by the same windows that streams and devices use.

A row says when it could first be known: at the end of its window, or when the last of its events came, if that was
later. So a training set of these rows has no value that a stream could not have had at the time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal_contract.features import CountWindow, Feature, FeatureDefinition
from shoal_numerics import FeatureError
from shoal_numerics.features import WindowRows, begin_windows
from shoal_training.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Times = npt.NDArray[np.int64]
_CAME: Final = "~came"
"""No name that a field or a feature may have; it sorts behind all of them."""
ROW_COLUMNS: Final = ("entity", "start_time", "event_time", "created", "events")


@dataclass(frozen=True)
class Events:
    """Events in the order in which they came.

    Attributes:
        entities: n names.
        at_ns: (n,) int64.
        came_ns: (n,) int64, when each was known.
        fields: (n,) float64 by name, NaN where an event lacks it.
    """

    entities: Sequence[str]
    at_ns: Times
    came_ns: Times
    fields: Mapping[str, npt.NDArray[np.float64]]


class FeatureRows(NamedTuple):
    """Windows of a definition, and when each could be known.

    Attributes:
        features: Names of the columns of `windows.values`.
        windows: The windows.
        created_ns: (windows,) int64.
    """

    features: tuple[str, ...]
    windows: WindowRows
    created_ns: Times

    def table(self) -> "pa.Table":
        """Return them as rows of a feature view: `ROW_COLUMNS` and one column a feature, null where it has no value."""
        import pyarrow as pa

        at = pa.timestamp("ns", tz="UTC")
        rows = self.windows
        times = (pa.array(one, pa.int64()).cast(at) for one in (rows.start_ns, rows.end_ns, self.created_ns))
        head = dict(zip(ROW_COLUMNS, (pa.array(rows.entities, pa.string()), *times, rows.events), strict=True))
        values = {name: pa.array(rows.values[:, n], from_pandas=True) for n, name in enumerate(self.features)}
        return pa.table(head | values)


def compute(definition: FeatureDefinition, events: Events, until_ns: int | None = None) -> FeatureRows:
    """Return every window of the events that has closed by a time; of each entity in order of time.

    Args:
        definition: What is computed. All entities count, however many it holds at a time.
        events: The events. What came late is where it belongs, but windows by count take events as they came.
        until_ns: How far time has come, less the lateness; None: until the last event has left the last window.

    Raises:
        DataError: The definition can not be computed, or a field or a time is none that it takes.
    """
    if not len(events.at_ns):
        until_ns = until_ns or 0
    elif until_ns is None:
        until_ns = int(events.at_ns.max()) + 2 * _span_ns(definition)
    try:
        return _compute(definition, events, until_ns)
    except FeatureError as error:
        raise DataError(f"computing features: {error}") from error


def _compute(definition: FeatureDefinition, events: Events, until_ns: int) -> FeatureRows:
    features = {**definition.features, _CAME: Feature.model_construct(aggregate="max", field=_CAME, ttl_s=1.0)}
    whole = definition.model_copy(update={"features": features})
    names, code = np.unique(np.asarray(events.entities, dtype=object).astype(str), return_inverse=True)
    is_count = isinstance(definition.window, CountWindow)
    order = np.argsort(code, kind="stable") if is_count else np.lexsort((events.at_ns, code))
    bounds = np.searchsorted(code[order], np.arange(0, len(names) + definition.max_entities, definition.max_entities))
    # Microseconds since the first arrival are exact in float64; rounded up, no value is known too early.
    first_ns = int(events.came_ns.min(initial=2**62)) if len(events.came_ns) else 0
    fields = {**events.fields, _CAME: np.ceil((events.came_ns - first_ns) / 1000)}
    parts = []
    for start, stop in pairwise(bounds.tolist()):
        windows, rows = begin_windows(whole), order[start:stop]
        values = np.stack([_field(fields, one)[rows] for one in windows.plan.fields], axis=1)
        parts.append(windows.add(names[code[rows]].tolist(), events.at_ns[rows], values))
        parts.append(windows.advance(until_ns))
    joined = _joined(parts, len(features))
    order = np.lexsort((joined.end_ns, np.asarray(joined.entities, dtype=str)))
    joined = _taken(joined, order)
    came_ns = joined.values[:, -1].astype(np.int64) * 1000 + first_ns
    shown = joined._replace(values=joined.values[:, :-1])
    return FeatureRows(tuple(sorted(definition.features)), shown, np.maximum(came_ns, joined.end_ns))


def _field(fields: Mapping[str, npt.NDArray[np.float64]], name: str) -> npt.NDArray[np.float64]:
    if name not in fields:
        known = ", ".join(sorted(one for one in fields if one != _CAME)) or "none"
        raise DataError(f"computing features: events have no field {name}, only {known}; correct the definition")
    return fields[name]


def _joined(parts: Sequence[WindowRows], features: int) -> WindowRows:
    none = np.zeros(0, dtype=np.int64)
    every = [WindowRows([], none, none, none, np.zeros((0, features))), *parts]
    names = [name for part in every for name in part.entities]
    return WindowRows(names, *(np.concatenate([part[n] for part in every]) for n in range(1, 5)))


def _taken(rows: WindowRows, which: Times) -> WindowRows:
    numbers = (rows.start_ns[which], rows.end_ns[which], rows.events[which])
    return WindowRows([rows.entities[row] for row in which.tolist()], *numbers, rows.values[which])


def _span_ns(definition: FeatureDefinition) -> int:
    """Return how long after its last event the last window of an entity closes at most."""
    window = definition.window
    if isinstance(window, CountWindow):
        return 0
    length_ms = window.size_ms + window.every_ms if window.kind == "time" else window.gap_ms
    return (length_ms + window.lateness_ms) * 1_000_000
