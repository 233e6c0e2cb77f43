"""From combined panes to the numbers of a definition's features, one column a feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from shoal_contract.features import Aggregate
from shoal_numerics.features.bands import band_power, filled, spectrum
from shoal_numerics.features.panes import Floats, Integers, Panes
from shoal_numerics.features.plan import WindowPlan
from shoal_numerics.features.ring import Table
from shoal_numerics.features.spans import Spans

_S_PER_NS: Final = 1e-9


class Bounds(NamedTuple):
    """Where windows begin and end: (w,) int64 times in ns.

    A window by count begins and ends with an event; a session ends when it is known to be over.
    """

    start_ns: Integers
    end_ns: Integers


def bounds_of(plan: WindowPlan, windows: Panes, end: Integers) -> Bounds:
    """Return where windows begin and end.

    Args:
        plan: The definition.
        windows: (w rows) what is in them.
        end: (w,) the pane with which each ends; of windows by count and sessions their events tell.
    """
    if plan.is_count:
        return Bounds(windows.first_ns, windows.last_ns)
    if plan.is_session:
        return Bounds(windows.first_ns, windows.last_ns + plan.pane)
    end_ns = (end + 1) * plan.pane
    return Bounds(end_ns - plan.panes * plan.pane, end_ns)


def feature_values(plan: WindowPlan, windows: Panes, bounds: Bounds, table: Table, spans: Spans) -> Floats:
    """Return the features of windows, (w, features) float64; NaN where a window has no value to tell of.

    Args:
        plan: The definition.
        windows: (w rows) what is in them.
        bounds: Where they begin and end.
        table: The panes that they were made of.
        spans: Which rows of it.
    """
    power = _powers(plan, table, spans) if plan.samples else {}
    of_fields = {one: _of_fields(one, windows) for one in {feature.aggregate for _, feature in plan.features}}
    values = np.empty((len(windows.slot), len(plan.features)))
    for column, (name, feature) in enumerate(plan.features):
        if name in power:
            values[:, column] = power[name]
        elif feature.field is None:
            values[:, column] = _of_events(plan, feature.aggregate, windows, bounds)
        else:
            values[:, column] = of_fields[feature.aggregate][:, plan.fields.index(feature.field)]
    return values


def _of_fields(aggregate: Aggregate, windows: Panes) -> Floats:
    """Return an aggregate of every field, (w, c); nothing where it is none of fields."""
    if aggregate not in _BY_AGGREGATE:
        return windows.mean[:, :0]
    return np.where(windows.present > 0, _BY_AGGREGATE[aggregate](windows), np.nan)


def _std(windows: Panes) -> Floats:
    deviation: Floats = np.sqrt(windows.m2 / np.maximum(windows.present, 1))
    return deviation


_BY_AGGREGATE: Final[Mapping[Aggregate, Callable[[Panes], Floats]]] = {
    "mean": lambda windows: windows.mean,
    "std": _std,
    "min": lambda windows: windows.low,
    "max": lambda windows: windows.high,
    "last": lambda windows: windows.last,
}


def _of_events(plan: WindowPlan, aggregate: Aggregate, windows: Panes, bounds: Bounds) -> Floats:
    events = windows.events.astype(np.float64)
    if aggregate == "events":
        return events
    if aggregate == "since_last":
        return (bounds.end_ns - windows.last_ns).astype(np.float64) * _S_PER_NS
    if not (plan.is_count or plan.is_session):
        return events / (plan.panes * plan.pane * _S_PER_NS)
    # By count and of sessions: the gaps between the first and the last event, of which there is one less than events.
    lasted_s = (windows.last_ns - windows.first_ns) * _S_PER_NS
    rate: Floats = np.divide(events - 1, lasted_s, out=np.full(len(events), np.nan), where=lasted_s > 0)
    return rate


def _powers(plan: WindowPlan, table: Table, spans: Spans) -> dict[str, Floats]:
    """Return the features that are powers of bands, (w,) each, by name."""
    rows, starts = spans.rows()
    window = np.repeat(np.arange(len(starts)), spans.last - spans.first + 1)
    place = plan.panes - 1 - (spans.end[window] - table.panes.pane[rows])
    samples = np.full((len(starts), plan.panes, plan.samples, len(plan.fields)), np.nan)
    samples[window, place] = table.samples[rows]
    whole = filled(samples.reshape(len(starts), -1, len(plan.fields)))
    frequencies, power = spectrum(whole, plan.sampling_hz)
    found = {}
    for name, one in plan.features:
        if one.aggregate == "band_power" and one.field is not None and one.low_hz is not None and one.high_hz:
            of_fields = band_power(frequencies, power, one.low_hz, one.high_hz)
            found[name] = of_fields[:, plan.fields.index(one.field)]
    return found
