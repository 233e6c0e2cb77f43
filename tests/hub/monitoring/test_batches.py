"""Windows are taken in a batch at a time, and each comes to what it would come to by itself."""

import base64
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from sqlmodel import Session, col, select
from tests.hub.monitoring.test_drift import baseline, like_training, shifted, signals, sketch
from tests.hub.statements import statements
from tests.simulators.rows import NOON, add_device

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence, SketchCounts, Window
from shoal_hub.context import HubContext
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.tables import DeviceEvidence, QuarantinedWindow, WindowRow
from shoal_hub.monitoring.windows import take_windows

__all__ = ["baseline"]


@pytest.fixture
def devices(hub: HubContext) -> list[str]:
    with hub.database.transaction() as session:
        return sorted(add_device(session).id for _ in range(3))


def take(hub: HubContext, *told: tuple[str, Window]) -> None:
    with hub.database.transaction() as session:
        take_windows(session, told, NOON)


def stored(session: Session) -> Sequence[WindowRow]:
    return session.exec(select(WindowRow).order_by(col(WindowRow.id))).all()


def kinds(session: Session) -> list[str]:
    return [row.kind for row in session.exec(select(EventRow).order_by(col(EventRow.id))) if "drift" in row.kind]


def test_a_drift_that_comes_and_goes_within_one_batch_is_told(
    hub: HubContext, baseline: Baseline, devices: list[str]
) -> None:
    one, other, _ = devices
    take(
        hub,
        (one, sketch(baseline, shifted(1))),
        (other, sketch(baseline, shifted(2))),
        (one, sketch(baseline, like_training(3))),
        (other, sketch(baseline, like_training(4))),
    )
    with hub.database.session() as session:
        [signal] = signals(session)
        assert (signal.state, signal.devices) == ("cleared", [])
        assert kinds(session) == ["drift_raised", "drift_cleared"]
        assert [row.device_id for row in stored(session)] == [one, other, one, other]


def test_small_windows_are_looked_at_together_over_batches(
    hub: HubContext, baseline: Baseline, devices: list[str]
) -> None:
    parts = [sketch(baseline, shifted(1)[start : start + 30]) for start in range(0, 150, 30)]
    take(hub, *((devices[0], one) for one in parts[:2]))
    with hub.database.session() as session:
        assert signals(session) == []
    take(hub, *((devices[0], one) for one in parts[2:]))
    with hub.database.session() as session:
        [signal] = signals(session)
        assert (signal.state, signal.samples) == ("active", 120)


def test_a_lie_in_a_batch_is_set_aside_alone(hub: HubContext, baseline: Baseline, devices: list[str]) -> None:
    good = sketch(baseline, like_training(1))
    no_counts = SketchCounts(rows=4, bins=good.features.bins, data=base64.b64encode(b"no zstd").decode())
    take(
        hub,
        (devices[0], good),
        (devices[1], good.model_copy(update={"features": no_counts})),
        (devices[1], good.model_copy(update={"samples": 7, "predictions": (0, 0, 0)})),
        (devices[2], good),
        (devices[2], good),
    )
    with hub.database.session() as session:
        assert [row.device_id for row in stored(session)] == [devices[0], devices[2]]
        aside = session.exec(select(QuarantinedWindow).order_by(col(QuarantinedWindow.id))).all()
        assert sorted((one.device_id, one.reason) for one in aside) == [
            (devices[1], "does_not_add_up"),
            (devices[1], "unreadable"),
            (devices[2], "duplicate"),
        ]


def test_a_window_is_known_again_however_many_came_since(
    hub: HubContext, baseline: Baseline, devices: list[str]
) -> None:
    first = sketch(baseline, like_training(1))
    later = [
        first.model_copy(update={"started_at": NOON - timedelta(minutes=1, seconds=number)}) for number in range(1, 200)
    ]
    take(hub, (devices[0], first), *((devices[0], one) for one in later))
    take(hub, (devices[0], first), (devices[1], first))
    with hub.database.session() as session:
        assert len(stored(session)) == 201, "of another device it is another window"


def test_evidence_of_a_batch_is_the_last_that_each_device_said(
    hub: HubContext, baseline: Baseline, devices: list[str]
) -> None:
    def told(windows: int, **log10: float) -> DriftEvidenceTold:
        features = tuple(FeatureEvidence(feature=int(name[1:]), log10=one) for name, one in log10.items())
        return DriftEvidenceTold(windows=windows, features=features)

    def say(seed: int, evidence: DriftEvidenceTold) -> Window:
        return sketch(baseline, like_training(seed), evidence=evidence)

    take(
        hub,
        (devices[0], say(1, told(40, f1=3.0))),
        (devices[0], say(2, told(41, f1=4.0))),
        (devices[1], say(3, told(9))),
    )
    take(hub, (devices[0], say(4, told(42, f1=4.0))), (devices[1], say(5, told(50, f0=2.0))))
    with hub.database.session() as session:
        rows = {row.device_id: row for row in session.exec(select(DeviceEvidence))}
    assert [(rows[one].windows, rows[one].features, rows[one].is_told) for one in devices[:2]] == [
        (42, [[1.0, 4.0]], False),
        (50, [[0.0, 2.0]], False),
    ]


def test_a_batch_takes_as_many_statements_as_one_window(
    hub: HubContext, baseline: Baseline, devices: list[str]
) -> None:
    def count(seeds: range) -> int:
        evidence = DriftEvidenceTold(windows=seeds.start)
        windows = [(devices[seed % 3], sketch(baseline, like_training(seed), evidence=evidence)) for seed in seeds]
        with statements(hub.database) as seen:
            take(hub, *windows)
        return len(seen)

    count(range(1, 4))
    assert count(range(100, 160)) <= count(range(200, 203)) + 1


def test_values_of_a_row_are_what_the_window_said(hub: HubContext, baseline: Baseline, devices: list[str]) -> None:
    window = sketch(baseline, like_training(1), errors=2, requests=152, labelled=5, correct=4)
    take(hub, (devices[0], window))
    with hub.database.session() as session:
        [row] = stored(session)
    told = (
        row.requests,
        row.errors,
        row.samples,
        row.labelled,
        row.correct,
        tuple(row.predictions),
        tuple(row.latency),
    )
    assert told == (152, 2, 150, 5, 4, window.predictions, window.latency)
    assert (row.started_at, row.ended_at, row.received_at) == (window.started_at, window.ended_at, NOON)
    assert row.drift is not None
    assert np.isfinite(row.drift)
