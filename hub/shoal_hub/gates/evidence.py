"""Adds the windows of a gate's devices up: before the rollout, and since its wave began, on both sides alike."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.gates.plan import VITALS, GatePlan, MetricName
from shoal_hub.gates.vitals import vital_totals
from shoal_hub.gates.window_sums import (
    Count,
    HistogramSums,
    WeightedSums,
    Windows,
    add_histograms,
    mean,
    part,
    sum_counts,
)
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.tables import Version
from shoal_numerics import DeviceTotals, Evidence, GateMetric, histogram_quantile, histogram_share_over

_Totals = tuple[DeviceTotals, DeviceTotals]
"""Before and after."""
_COUNTS: Final[dict[MetricName, Count]] = {
    "error_rate": part(WindowRow.errors, of=WindowRow.requests),
    "drift": mean(WindowRow.drift, col(WindowRow.samples) - col(WindowRow.unsketched)),
    "accuracy": part(WindowRow.correct, of=WindowRow.labelled),
}
"""What the database adds up by itself."""
_OF_HISTOGRAMS: Final[frozenset[MetricName]] = frozenset({"slow_requests", "p95_latency", "confidence"})


class Sides(NamedTuple):
    """Who is compared: canaries serve `version`, controls `against`, or any other one where that is None.

    Both are statements that select device ids; a device may be on both sides.
    """

    model: str
    version: int
    against: int | None
    canaries: SelectOfScalar[str]
    controls: SelectOfScalar[str]


class Times(NamedTuple):
    """Two stretches: `[before, began)` up to the rollout's start; and from the wave's start on, to an end if any."""

    before_at: datetime
    began_at: datetime
    wave_at: datetime
    until_at: datetime | None = None


def collect(
    session: Session, sides: Sides, times: Times, plan: GatePlan, rollout_id: str = ""
) -> list[tuple[GateMetric, Evidence]]:
    """Return each metric of a plan with what both sides have counted.

    What a canary served before its update, and a control's windows of the version under test, if it has any, count
    for neither side. Devices that have told nothing are left out: they weigh nothing.

    Args:
        session: An open session.
        sides: Who is compared.
        times: Before the rollout, and since its wave began.
        plan: The gate's metrics.
        rollout_id: The rollout that watches the devices' vital signs, if the plan looks at any.
    """
    canaries, controls = (
        _totals(session, _windows(sides, times, is_canary=is_canary), plan, rollout_id) for is_canary in (True, False)
    )
    return [(plan.metric(one), _evidence(canaries[one.name], controls[one.name])) for one in plan.metrics]


def _evidence(canaries: _Totals, controls: _Totals) -> Evidence:
    before, after = (
        DeviceTotals(
            np.concatenate([canary.numerator, control.numerator]), np.concatenate([canary.weight, control.weight])
        )
        for canary, control in zip(canaries, controls, strict=True)
    )
    return Evidence(before, after, np.arange(len(after.weight)) < len(canaries[1].weight))


def _totals(session: Session, windows: Windows, plan: GatePlan, rollout_id: str) -> dict[MetricName, _Totals]:
    """Return what one side's devices tell of each metric; only what the plan looks at is read."""
    names = [one.name for one in plan.metrics]
    counted = [name for name in _COUNTS if name in names]
    sums = sum_counts(session, windows, [_COUNTS[name] for name in counted])
    found = {name: _of_sums(of_name) for name, of_name in zip(counted, sums, strict=True)}
    if not _OF_HISTOGRAMS.isdisjoint(names):
        found |= _of_histograms(session, windows, plan)
    return found | vital_totals(session, rollout_id, windows.devices, VITALS.intersection(names))


def _of_sums(sums: NDArray[np.float64]) -> _Totals:
    """Return sums of (2, 2, devices), before and after, numerator and weight, as totals."""
    before, after = sums
    return DeviceTotals(*before), DeviceTotals(*after)


def _of_histograms(session: Session, windows: Windows, plan: GatePlan) -> dict[MetricName, _Totals]:
    """Return the metrics of both histograms: they are read in one go."""
    latency = HistogramSums(WindowRow.latency, len(LATENCY_EDGES_MS) + 1)
    confidence = WeightedSums(WindowRow.confidence, _middles(session, windows.model))
    add_histograms(session, windows, [latency, confidence])
    before, after = latency.sums
    bound_ms = plan.latency_bound_ms
    return {
        "slow_requests": (
            histogram_share_over(before, LATENCY_EDGES_MS, bound_ms),
            histogram_share_over(after, LATENCY_EDGES_MS, bound_ms),
        ),
        "p95_latency": (
            histogram_quantile(before, LATENCY_EDGES_MS, 0.95),
            histogram_quantile(after, LATENCY_EDGES_MS, 0.95),
        ),
        "confidence": _of_sums(confidence.sums.transpose(0, 2, 1)),
    }


def _windows(sides: Sides, times: Times, *, is_canary: bool) -> Windows:
    """Return which windows of a side's devices count: before under an old version, after under the side's own."""
    version, started_at = col(WindowRow.version), col(WindowRow.started_at)
    is_old = version != sides.version
    before = and_(started_at < times.began_at, is_old)
    if is_canary:
        after = [version == sides.version, started_at >= times.wave_at]
    else:
        after = [is_old if sides.against is None else and_(is_old, version == sides.against)]
        after.append(started_at >= max(times.wave_at, times.began_at))  # what is before the rollout is not since then
    if times.until_at is not None:
        after.append(started_at <= times.until_at)
    devices = sides.canaries if is_canary else sides.controls
    return Windows(sides.model, devices, times.before_at, before, and_(*after))


def _middles(session: Session, model: str) -> dict[int, NDArray[np.float64]]:
    """Return, by version, the middle of each bin of its confidence histogram."""
    found = {}
    for number, baseline in session.exec(select(Version.number, Version.baseline).where(Version.model == model)):
        edges = np.clip([0.0, *Baseline.model_validate(baseline).confidence.edges, 1.0], 0.0, 1.0)
        found[number] = (edges[:-1] + edges[1:]) / 2
    return found


def before_of(began_at: datetime, plan: GatePlan) -> datetime:
    """Return from when on windows before the rollout count."""
    return began_at - timedelta(seconds=plan.before_s)
