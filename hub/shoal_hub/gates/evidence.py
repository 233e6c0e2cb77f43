"""Adds the windows of a gate's devices up: before the rollout, and since its wave began, on both sides alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.database import in_parts
from shoal_hub.gates.plan import VITALS, GatePlan, MetricName
from shoal_hub.gates.vitals import vital_totals
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.registry.tables import Version
from shoal_numerics import DeviceTotals, Evidence, GateMetric, histogram_quantile, histogram_share_over

_BINS: Final = len(LATENCY_EDGES_MS) + 1


class Sides(NamedTuple):
    """Who is compared: canaries serve `version`, controls `against`, or any other one where that is None."""

    model: str
    version: int
    against: int | None
    canaries: Sequence[str]
    controls: Sequence[str]


class Times(NamedTuple):
    """Two stretches: `[before, began)` up to the rollout's start; and from the wave's start on, to an end if any."""

    before_at: datetime
    began_at: datetime
    wave_at: datetime
    until_at: datetime | None = None


@dataclass
class _Sums:
    """Sums over the windows of (devices,) each."""

    requests: NDArray[np.float64]
    errors: NDArray[np.float64]
    latency: NDArray[np.int64]
    confidence: NDArray[np.float64]
    answers: NDArray[np.float64]
    drift: NDArray[np.float64]
    drifted: NDArray[np.float64]
    labelled: NDArray[np.float64]
    correct: NDArray[np.float64]

    @classmethod
    def zeros(cls, devices: int) -> "_Sums":
        """Return sums over nothing."""
        single = [np.zeros(devices) for _ in range(8)]
        return cls(single[0], single[1], np.zeros((devices, _BINS), dtype=np.int64), *single[2:])

    def add(self, place: int, row: Any, middles: NDArray[np.float64] | None) -> None:  # noqa: ANN401 - selected columns
        """Add one window."""
        self.requests[place] += row.requests
        self.errors[place] += min(row.errors, row.requests)
        if len(row.latency) == _BINS:
            self.latency[place] += row.latency
        if middles is not None and len(row.confidence) == len(middles):
            self.confidence[place] += float(np.dot(row.confidence, middles))
            self.answers[place] += sum(row.confidence)
        if row.drift is not None and row.samples:
            self.drift[place] += row.drift * row.samples
            self.drifted[place] += row.samples
        self.labelled[place] += row.labelled
        self.correct[place] += min(row.correct, row.labelled)

    def totals(self, name: MetricName, bound_ms: float) -> DeviceTotals:
        """Return one metric's totals."""
        match name:
            case "error_rate":
                return DeviceTotals(self.errors, self.requests)
            case "slow_requests":
                return histogram_share_over(self.latency, LATENCY_EDGES_MS, bound_ms)
            case "p95_latency":
                return histogram_quantile(self.latency, LATENCY_EDGES_MS, 0.95)
            case "confidence":
                return DeviceTotals(self.confidence, self.answers)
            case "accuracy":
                return DeviceTotals(self.correct, self.labelled)
            case _:
                return DeviceTotals(self.drift, self.drifted)


def collect(
    session: Session, sides: Sides, times: Times, plan: GatePlan, rollout_id: str = ""
) -> list[tuple[GateMetric, Evidence]]:
    """Return each metric of a plan with what both sides have counted.

    What a canary served before its update, and a control's windows of the version under test, if it has any, count
    for neither side.

    Args:
        session: An open session.
        sides: Who is compared.
        times: Before the rollout, and since its wave began.
        plan: The gate's metrics.
        rollout_id: The rollout that watches the devices' vital signs, if the plan looks at any.
    """
    device_ids = [*sides.canaries, *sides.controls]
    is_canary = np.arange(len(device_ids)) < len(sides.canaries)
    before, after = _add_windows(session, sides, times, device_ids)
    found = []
    for planned in plan.metrics:
        if planned.name in VITALS:
            totals = vital_totals(session, rollout_id, device_ids, planned.name)
        else:
            totals = tuple(one.totals(planned.name, plan.latency_bound_ms) for one in (before, after))  # type: ignore[assignment]
        found.append((plan.metric(planned), Evidence(totals[0], totals[1], is_canary)))
    return found


def _add_windows(session: Session, sides: Sides, times: Times, device_ids: Sequence[str]) -> tuple[_Sums, _Sums]:
    place = {device_id: index for index, device_id in enumerate(device_ids)}
    before, after = _Sums.zeros(len(device_ids)), _Sums.zeros(len(device_ids))
    middles, first_control = _middles(session, sides.model), len(sides.canaries)
    columns: Any = (
        col(WindowRow.device_id),
        col(WindowRow.version),
        col(WindowRow.started_at),
        col(WindowRow.requests),
        col(WindowRow.errors),
        col(WindowRow.samples),
        col(WindowRow.latency),
        col(WindowRow.confidence),
        col(WindowRow.drift),
        col(WindowRow.labelled),
        col(WindowRow.correct),
    )
    for part in in_parts(device_ids):
        wanted: Any = select_columns(*columns).where(
            col(WindowRow.model) == sides.model,
            col(WindowRow.device_id).in_(part),
            col(WindowRow.started_at) >= times.before_at,
        )
        for row in session.connection().execute(wanted):
            index = place[row.device_id]
            is_new = row.version == sides.version
            if row.started_at < times.began_at and not is_new:
                before.add(index, row, middles.get(row.version))
            elif _counts(row, sides, times, is_canary=index < first_control):
                after.add(index, row, middles.get(row.version))
    return before, after


def _counts(row: Any, sides: Sides, times: Times, *, is_canary: bool) -> bool:  # noqa: ANN401 - selected columns
    """Whether a window is of its device's side, in the time that is compared."""
    started_at: datetime = row.started_at
    version: int = row.version
    if started_at < times.wave_at or (times.until_at is not None and started_at > times.until_at):
        return False
    if is_canary:
        return version == sides.version
    return version != sides.version and sides.against in {None, version}


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
