"""Windows are added up by the database and in arrays: it comes to what plain sums over single windows come to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlmodel import Session, col, delete, select
from tests.hub.gates.plain_evidence import BINS, Compared, plain_evidence
from tests.simulators.rows import NOON, add_device, add_version

from shoal_contract.limits import MAX_INTEGER
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.gates import window_sums
from shoal_hub.gates.evidence import Sides, Times, collect
from shoal_hub.gates.plan import GatePlan
from shoal_hub.monitoring.tables import WindowRow
from shoal_numerics import Evidence, MetricResult, evaluate_metric

METRICS = ("error_rate", "slow_requests", "p95_latency", "confidence", "drift", "accuracy")
PLAN = GatePlan.model_validate(
    {"metrics": [{"name": name} for name in METRICS], "min_devices": 2, "max_device_share": 0.5, "min_samples": 1}
)
MIDDLES = {1: (0.25, 0.75), 2: (0.25, 0.75), 3: (0.5,), 4: (0.05, 0.2, 0.65)}
"""Of the confidence bins of each version that there is."""
EDGES: dict[int, list[float]] = {3: [], 4: [0.1, 0.3]}
BEGAN = NOON
TIMES = Times(NOON - timedelta(hours=1), NOON, NOON + timedelta(minutes=10))
SET_BACK = TIMES._replace(wave_at=NOON - timedelta(minutes=10))
STARTS = (-3601, -3600, -601, -600, -1, 0, 599, 600, 900, 901)
"""Seconds from noon: at and beside each end of a stretch."""
COUNT = st.integers(0, 1000)


@dataclass(frozen=True)
class Case:
    """Devices by number, what they have told by a first look, and what is deleted and comes late by the next."""

    canaries: frozenset[int]
    controls: frozenset[int]
    windows: list[tuple[int, dict[str, Any]]]
    late: list[tuple[int, dict[str, Any]]]
    deleted: frozenset[int]
    times: Times
    against: int | None


def histograms(bins: int) -> st.SearchStrategy[list[int]]:
    """Return histograms, now and then of another number of bins."""
    right = st.lists(COUNT, min_size=bins, max_size=bins)
    return right | right | st.lists(COUNT, max_size=4)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    version = draw(st.sampled_from([1, 1, 2, 2, 3, 4, 5]))
    started_at = NOON + timedelta(seconds=draw(st.sampled_from(STARTS)))
    told: dict[str, Any] = {name: draw(COUNT) for name in ("requests", "errors", "samples", "labelled", "correct")}
    told |= {"model": draw(st.sampled_from(["digits"] * 5 + ["letters"])), "version": version}
    told |= {"latency": draw(histograms(BINS)), "confidence": draw(histograms(len(MIDDLES.get(version, ()))))}
    told |= {"drift": draw(st.none() | st.floats(0, 1)), "started_at": started_at, "ended_at": started_at}
    return draw(st.integers(0, 7)), told


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sides = draw(st.lists(st.sampled_from(["canary", "control", "both", "none"]), min_size=8, max_size=8))
    canaries, controls = (
        frozenset(number for number, side in enumerate(sides) if side in {name, "both"})
        for name in ("canary", "control")
    )
    until_at = draw(st.sampled_from([None, NOON + timedelta(seconds=900)]))
    times = draw(st.sampled_from([TIMES, TIMES, SET_BACK]))._replace(until_at=until_at)
    told = draw(st.lists(windows(), min_size=15, max_size=40))  # so many that most examples have some of each kind
    late, deleted = draw(st.lists(windows(), max_size=10)), draw(st.frozensets(st.integers(0, 39), max_size=10))
    return Case(canaries, controls, told, late, deleted, times, draw(st.sampled_from([None, 1])))


@pytest.fixture
def device_ids(hub: HubContext) -> list[str]:
    with hub.database.transaction() as session:
        for number, middles in MIDDLES.items():
            version = add_version(session, hub.artifacts, number, {})
            edges = EDGES.get(number, [0.5])
            confidence = {"name": "confidence", "edges": edges, "counts": [1] * len(middles)}
            version.baseline = version.baseline | {"confidence": confidence}
            session.add(version)
        return sorted(add_device(session).id for _ in range(8))


def of_ids(device_ids: Collection[str]) -> Any:
    return select(Device.id).where(col(Device.id).in_(device_ids))


def row_of(device_id: str, told: dict[str, Any]) -> WindowRow:
    return WindowRow(device_id=device_id, features=b"", missing=b"", predictions=[], **told)


def tell(session: Session, rows: Sequence[WindowRow]) -> None:
    session.add_all(rows)
    session.flush()


def told_by(evidence: Evidence) -> NDArray[np.float64]:
    """Return what devices have counted that have counted anything, in an order of its own."""
    totals = (evidence.before.numerator, evidence.before.weight, evidence.after.numerator, evidence.after.weight)
    rows = np.stack([evidence.is_canary.astype(np.float64), *totals], axis=-1)
    told: NDArray[np.float64] = rows[rows[:, 1:].any(axis=1)].round(6)
    return told[np.lexsort(told.T)]


def check(session: Session, rows: Sequence[WindowRow], compared: Compared, times: Times) -> None:
    """Compare what is collected with plain sums, and the verdicts on both."""
    sides = Sides(*compared[:3], of_ids(compared.canaries), of_ids(compared.controls))
    for metric, evidence in collect(session, sides, times, PLAN):
        plain = plain_evidence(rows, compared, times, MIDDLES, metric.name, PLAN.latency_bound_ms)
        np.testing.assert_allclose(told_by(evidence), told_by(plain), rtol=0, atol=2e-6, err_msg=metric.name)
        levels = PLAN.budget(1).levels(metric.name, 0)
        found, expected = (evaluate_metric(metric, one, levels) for one in (evidence, plain))
        assert said(found)[:3] == said(expected)[:3], metric.name
        assert said(found)[3:] == pytest.approx(said(expected)[3:], rel=1e-6, abs=1e-9, nan_ok=True), metric.name


def said(result: MetricResult) -> tuple[Any, ...]:
    bounds = (result.effect, result.lower, result.upper, result.degrees)
    return (result.verdict, result.canary.devices, result.control.devices, *bounds)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few windows make several batches."""
    monkeypatch.setattr(window_sums, "ROWS_AT_A_TIME", 2)
    monkeypatch.setattr(window_sums, "BATCH", 6)


@pytest.mark.usefixtures("small_batches")
@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each example is many statements: a shrink takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=cases())
def test_evidence_is_that_of_plain_sums_over_single_windows_at_each_look(
    hub: HubContext, device_ids: list[str], case: Case
) -> None:
    rows, late = ([row_of(device_ids[device], told) for device, told in of] for of in (case.windows, case.late))
    canaries, controls = ([device_ids[one] for one in sorted(side)] for side in (case.canaries, case.controls))
    compared = Compared("digits", 2, case.against, canaries, controls)
    with hub.database.transaction() as session:
        session.exec(delete(WindowRow))
        tell(session, rows)
        check(session, rows, compared, case.times)
        for number in case.deleted & set(range(len(rows))):
            session.delete(rows[number])
        tell(session, late)
        left = [row for number, row in enumerate(rows) if number not in case.deleted]
        check(session, [*left, *late], compared, case.times)


def test_counts_whose_sum_has_more_than_64_bits_leave_the_gate_readable(hub: HubContext, device_ids: list[str]) -> None:
    """A device may send them, and its own mean is all that it can spoil by that."""
    edges = np.linspace(0, 1, 1025)[1:-1].tolist()
    told: dict[str, Any] = {
        "requests": 1,
        "errors": 0,
        "samples": 1,
        "latency": [],
        "started_at": NOON,
        "ended_at": NOON,
    }
    with hub.database.transaction() as session:
        version = add_version(session, hub.artifacts, 9, {})
        version.baseline = version.baseline | {
            "confidence": {"name": "confidence", "edges": edges, "counts": [1] * 1024}
        }
        session.add(version)
        tell(
            session,
            [row_of(device_ids[0], told | {"model": "digits", "version": 9, "confidence": [MAX_INTEGER] * 1024})],
        )
        sides = Sides("digits", 9, None, of_ids(device_ids[:1]), of_ids(device_ids[1:]))
        found = {metric.name: one for metric, one in collect(session, sides, TIMES._replace(wave_at=NOON), PLAN)}
    assert found["confidence"].after.weight.tolist() == pytest.approx([1024 * MAX_INTEGER])
    assert found["confidence"].after.values.tolist() == pytest.approx([0.5])
