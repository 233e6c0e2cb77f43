"""From a device's window to a drift signal, on both databases."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session, col, select
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.simulators.rows import NOON, add_device

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import LATENCY_EDGES_MS, OutboxPosition, SketchCounts, Window
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.settle import settle_signals
from shoal_hub.monitoring.sketches import reference_of
from shoal_hub.monitoring.tables import DriftSignal, WindowRow
from shoal_hub.monitoring.windows import take_window
from shoal_hub.registry.tables import Version
from shoal_numerics import Histogram, pack_counts


@pytest.fixture
def baseline(hub: HubContext, tmp_path: Path) -> Baseline:
    register_bundle(hub, write_bundle(tmp_path / "bundle"))
    with hub.database.session() as session:
        return Baseline.model_validate(session.exec(select(Version)).one().baseline)


def sketch(baseline: Baseline, rows: np.ndarray[Any, Any], **changes: Any) -> Window:
    """Return the window that an agent would send for these rows (n, 4)."""
    histogram = Histogram.of(reference_of(baseline).edges, rows)
    features, bins = histogram.edges.padded_shape
    fields: dict[str, Any] = {
        "outbox": OutboxPosition(stream="0" * 16, sequence=1, oldest=1),
        "model": "colours",
        "version": 1,
        "manifest_sha256": "0" * 64,
        "started_at": NOON - timedelta(minutes=1),
        "ended_at": NOON,
        "requests": len(rows),
        "samples": len(rows),
        "errors": 0,
        "features": _counts(features, bins, histogram.padded().ravel()),
        "missing": _counts(features, 1, histogram.missing),
        "predictions": (len(rows), 0, 0),
        "confidence": (0,) * len(baseline.confidence.counts),
        "latency": (0,) * (len(LATENCY_EDGES_MS) + 1),
    }
    return Window(**(fields | changes))


def _counts(rows: int, bins: int, counts: np.ndarray[Any, Any]) -> SketchCounts:
    return SketchCounts(rows=rows, bins=bins, data=base64.b64encode(pack_counts(counts)).decode())


def like_training(seed: int, rows: int = 150) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def shifted(seed: int) -> np.ndarray[Any, Any]:
    return like_training(seed) * 0.3 + 1.5


def take(hub: HubContext, device_id: str, window: Window, now: datetime = NOON) -> None:
    with hub.database.transaction() as session:
        take_window(session, device_id, window, now)


def signals(session: Session) -> list[DriftSignal]:
    return list(session.exec(select(DriftSignal).order_by(DriftSignal.id)))


def test_a_shift_raises_one_signal_that_names_the_devices_and_the_features(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        first, second, steady = (add_device(session).id for _ in range(3))

    take(hub, steady, sketch(baseline, like_training(7)))
    take(hub, first, sketch(baseline, shifted(1)))
    take(hub, second, sketch(baseline, shifted(2)))

    with hub.database.session() as session:
        (signal,) = signals(session)
        assert signal.devices == sorted([first, second])
        assert {feature["name"] for feature in signal.features} <= {one.name for one in baseline.features}
        assert len(signal.features) >= 3
        assert all(feature["psi"] > 0.25 for feature in signal.features)


def test_data_like_the_training_data_raises_nothing(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        device = add_device(session).id

    for seed in range(10):
        take(hub, device, sketch(baseline, like_training(100 + seed)))

    with hub.database.session() as session:
        assert signals(session) == []
        assert len(session.exec(select(WindowRow)).all()) == 10


def test_a_window_that_comes_again_by_another_outbox_is_counted_once(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        device, other = add_device(session).id, add_device(session).id
    first, second = sketch(baseline, like_training(1)), sketch(baseline, like_training(2))
    again = first.model_copy(update={"outbox": OutboxPosition(stream="1" * 16, sequence=7, oldest=7)})
    for device_id, window in ((device, first), (device, second), (device, again), (other, first)):
        take(hub, device_id, window)
    with hub.database.session() as session:
        assert [row.device_id for row in session.exec(select(WindowRow).order_by(col(WindowRow.id)))] == [
            device,
            device,
            other,
        ]


def test_a_signal_clears_when_the_last_device_looks_like_the_baseline_again(
    hub: HubContext, baseline: Baseline
) -> None:
    with hub.database.transaction() as session:
        first, second = add_device(session).id, add_device(session).id
    for device in (first, second):
        take(hub, device, sketch(baseline, shifted(3)))

    take(hub, first, sketch(baseline, like_training(4)))
    with hub.database.session() as session:
        assert [signal.state for signal in signals(session)] == ["active"]
    take(hub, second, sketch(baseline, like_training(5)))

    with hub.database.session() as session:
        (signal,) = signals(session)
        assert (signal.state, signal.devices, signal.cleared_at) == ("cleared", [], NOON)
        kinds = [event.kind for event in session.exec(select(EventRow).order_by(EventRow.id))]  # type: ignore[arg-type]
        assert kinds.count("drift_raised") == 1
        assert kinds.count("drift_cleared") == 1


def test_a_signal_ends_where_its_version_is_not_served_any_more(hub: HubContext, baseline: Baseline) -> None:
    slot = {"version": 1, "target": "generic-onnx-int8", "sha256": "0" * 64, "state": "good"}
    serving = {"models": {"colours": {"active": slot}}}
    moved = {"models": {"colours": {"active": slot | {"version": 2}, "previous": slot}}}
    with hub.database.transaction() as session:
        first, second, third = (add_device(session, reported=serving).id for _ in range(3))
    for device in (first, second, third):
        take(hub, device, sketch(baseline, shifted(3)))

    def report(device_id: str, **changes: Any) -> None:
        with hub.database.transaction() as session:
            session.get_one(Device, device_id).sqlmodel_update(changes)

    report(first, reported=moved)
    report(second, reported={"models": {}})
    settle_signals(hub.database, NOON)
    with hub.database.session() as session:
        assert [(one.state, one.devices) for one in signals(session)] == [("active", [third])]
    report(third, revoked_at=NOON)
    settle_signals(hub.database, NOON)

    with hub.database.session() as session:
        (signal,) = signals(session)
        assert (signal.state, signal.cleared_at) == ("cleared", NOON)
        (event,) = session.exec(select(EventRow).where(EventRow.kind == "drift_cleared"))
        assert "is not served any more" in event.message
    take(hub, first, sketch(baseline, shifted(4)))  # a late window of the version before
    with hub.database.session() as session:
        assert len(signals(session)) == 1


def test_small_windows_are_looked_at_together(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        device = add_device(session).id

    for part in np.array_split(shifted(6), 2):
        with hub.database.session() as session:
            assert signals(session) == []
        take(hub, device, sketch(baseline, part))

    with hub.database.session() as session:
        assert len(signals(session)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 151},
        {"version": 2},
        {"model": "shapes"},
        {"predictions": (150,)},
        {"features": SketchCounts(rows=4, bins=7, data="AAAA")},
        {"features": SketchCounts(rows=4, bins=20, data="AAAA")},
        {"missing": SketchCounts(rows=4, bins=1, data="====")},
        {"requests": 1, "errors": 2},
        {"latency": (2**62, 2**62)},
        {"requests": 2**31},
    ],
    ids=["sum", "version", "model", "labels", "shape", "garbage", "base64", "errors", "latency", "requests"],
)
def test_a_window_that_does_not_add_up_is_quarantined_and_never_merged(
    hub: HubContext, baseline: Baseline, changes: dict[str, Any]
) -> None:
    with hub.database.transaction() as session:
        device = add_device(session).id

    take(hub, device, sketch(baseline, shifted(8), **changes))

    with hub.database.session() as session:
        assert session.exec(select(WindowRow)).all() == []
        assert signals(session) == []
        (event,) = session.exec(select(EventRow).where(EventRow.kind == "window_quarantined"))
        assert event.severity == "warning"
