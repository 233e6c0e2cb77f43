"""The controlled rule at the hub: from what devices say of their evidence to one signal, on both databases."""

from datetime import timedelta

import pytest
from sqlmodel import Session, select
from tests.hub.monitoring.test_drift import baseline, like_training, sketch, take
from tests.simulators.rows import NOON, add_device

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import DriftEvidenceTold, FeatureEvidence
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.evidence import EvidenceWatch, suffices
from shoal_hub.monitoring.tables import DeviceEvidence, DriftSignal

__all__ = ["baseline"]
LATER = NOON + timedelta(hours=1)


@pytest.fixture
def devices(hub: HubContext) -> list[str]:
    with hub.database.transaction() as session:
        return [add_device(session).id for _ in range(6)]


def say(hub: HubContext, device_id: str, of: Baseline, evidence: dict[int, float], seed: int = 0) -> None:
    """Have a device send a window of data like that of the training, with this evidence: log10 by feature."""
    told = DriftEvidenceTold(
        windows=40, features=tuple(FeatureEvidence(feature=at, log10=log10) for at, log10 in evidence.items())
    )
    take(hub, device_id, sketch(of, like_training(seed), evidence=told))


def look(hub: HubContext) -> list[DriftSignal]:
    EvidenceWatch(hub.database).step(LATER)
    with hub.database.session() as session:
        return list(session.exec(select(DriftSignal).where(DriftSignal.rule == "controlled")))


def rows_with(*features: dict[int, float]) -> list[DeviceEvidence]:
    return [
        DeviceEvidence(
            model="m",
            version=1,
            device_id=f"d-{at}",
            windows=1,
            tested=4,
            features=[*map(list, one.items())],
            updated_at=NOON,
        )
        for at, one in enumerate(features)
    ]


def test_what_one_device_needs_grows_with_the_tests_and_shrinks_with_those_that_moved_as_well() -> None:
    assert not suffices(rows_with({2: 2.5}, {}, {}, {}, {}))  # 316, of 20 tests at 0.05: 400 are needed
    assert [(one.device_id, one.feature) for one in suffices(rows_with({2: 2.61}, {}, {}, {}, {}))] == [("d-0", 2)]
    together = suffices(rows_with({2: 2.35}, {2: 2.31}, {}, {}, {}))  # 200 each
    assert [(one.device_id, one.feature) for one in together] == [("d-0", 2), ("d-1", 2)]


def test_a_signal_names_devices_and_features_and_is_cleared_when_the_evidence_has_gone(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    for seed, device in enumerate(devices):
        say(hub, device, baseline, {}, seed)
    assert look(hub) == []
    for seed, device in enumerate(devices[:2]):
        say(hub, device, baseline, {3: 9.0, 1: 4.0}, 10 + seed)
    say(hub, devices[2], baseline, {3: 5.0, 0: 1.0}, 20)
    [signal] = look(hub)
    assert (signal.state, signal.devices) == ("active", sorted(devices[:3]))
    names = [feature.name for feature in baseline.features]
    assert [(one["name"], one["log10_e"], one["devices"]) for one in signal.features] == [
        (names[3], 9.0, 3),
        (names[1], 4.0, 2),
    ]
    for seed, device in enumerate(devices[:3]):
        say(hub, device, baseline, {}, 30 + seed)
    [signal] = look(hub)
    assert (signal.state, signal.devices, signal.cleared_at) == ("cleared", [], LATER)
    with hub.database.session() as session:
        told = [one.kind for one in session.exec(select(EventRow).order_by(EventRow.id)) if "drift" in one.kind]
    assert told == ["drift_raised", "drift_cleared"]


def test_it_is_looked_at_only_when_a_device_says_something_new(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 8.0})
    watch = EvidenceWatch(hub.database)
    assert watch.step(LATER) == 1
    assert watch.step(LATER) == 0
    say(hub, devices[0], baseline, {1: 8.0}, 1)
    assert watch.step(LATER) == 0
    say(hub, devices[0], baseline, {1: 8.5}, 2)
    assert watch.step(LATER) == 1


def test_a_device_that_was_revoked_and_a_feature_that_is_not_there_count_for_nothing(
    hub: HubContext, devices: list[str], baseline: Baseline
) -> None:
    say(hub, devices[0], baseline, {1: 9.0})
    say(hub, devices[1], baseline, {len(baseline.features): 9.0}, 1)
    with hub.database.transaction() as session:
        _revoke(session, devices[0])
    assert look(hub) == []


def _revoke(session: Session, device_id: str) -> None:
    device = session.get_one(Device, device_id)
    device.revoked_at = NOON
    session.add(device)
