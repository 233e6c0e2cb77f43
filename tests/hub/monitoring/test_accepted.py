"""Inputs that a version has learnt since raise no signal of it; others do."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import select
from tests.hub.monitoring.test_drift import like_training, shifted, signals, sketch, take
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.simulators.rows import NOON, add_device

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.monitoring.accepted import MAX_ACCEPTED, AcceptedInputs, accept_inputs
from shoal_hub.monitoring.evidence import decide
from shoal_hub.monitoring.tables import DeviceEvidence
from shoal_hub.registry.tables import Version


@pytest.fixture
def baseline(hub: HubContext, tmp_path: Path) -> Baseline:
    """Of both of two versions, as the second one was trained from the first."""
    for name in ("one", "two"):
        register_bundle(hub, write_bundle(tmp_path / name))
    with hub.database.session() as session:
        return Baseline.model_validate(session.exec(select(Version).where(Version.number == 1)).one().baseline)


def accept(hub: HubContext, *devices: str, since: timedelta = timedelta(hours=1)) -> str:
    """Have what devices saw under version 1 count as known to version 2; return why not, or nothing."""
    with hub.database.transaction() as session:
        _, why_not = accept_inputs(
            session,
            "colours",
            seen_by=1,
            version=2,
            devices=devices,
            since=NOON - since,
            min_samples=100,
            by="automation/learn",
            now=NOON,
        )
    return why_not


def two_devices(hub: HubContext) -> tuple[str, str]:
    with hub.database.transaction() as session:
        return add_device(session).id, add_device(session).id


def test_what_was_learnt_raises_nothing_under_the_version_that_has_learnt_it(
    hub: HubContext, baseline: Baseline
) -> None:
    moved, steady = two_devices(hub)
    for seed in (1, 2, 3):
        take(hub, moved, sketch(baseline, shifted(seed)))
    assert accept(hub, moved) == ""
    for seed in (11, 12):
        take(hub, moved, sketch(baseline, shifted(seed), version=2))
        take(hub, steady, sketch(baseline, like_training(seed), version=2))
    take(hub, moved, sketch(baseline, shifted(9)))
    with hub.database.session() as session:
        assert [one.version for one in signals(session)] == [1], "version 1 has learnt nothing"


def test_another_shift_is_drift_also_of_a_version_that_has_learnt_one(hub: HubContext, baseline: Baseline) -> None:
    moved, other = two_devices(hub)
    for seed in (1, 2, 3):
        take(hub, moved, sketch(baseline, shifted(seed)))
    assert accept(hub, moved) == ""
    take(hub, other, sketch(baseline, (like_training(5) * 0.3 - 2.0).astype(np.float32), version=2))
    with hub.database.session() as session:
        [found] = [one for one in signals(session) if one.version == 2]
        assert found.devices == [other]


def test_evidence_of_what_was_learnt_raises_no_controlled_signal(hub: HubContext, baseline: Baseline) -> None:
    moved, other = two_devices(hub)
    for seed in (1, 2, 3):
        take(hub, moved, sketch(baseline, shifted(seed)))
    assert accept(hub, moved) == ""
    take(hub, moved, sketch(baseline, shifted(7), version=2))
    take(hub, other, sketch(baseline, (like_training(5) * 0.3 - 2.0).astype(np.float32), version=2))
    with hub.database.transaction() as session:
        for device_id in (moved, other):
            fields = {"windows": 50, "tested": 4, "features": [[0.0, 9.0], [1.0, 9.0]]}
            times = {"ended_at": NOON, "updated_at": NOON}
            session.add(DeviceEvidence(model="colours", version=2, device_id=device_id, **fields, **times))
        session.flush()
        found = decide(session, "colours", 2, NOON)
        assert found is not None
        assert found.devices == [other]


def test_too_few_samples_are_not_accepted(hub: HubContext, baseline: Baseline) -> None:
    moved, _ = two_devices(hub)
    take(hub, moved, sketch(baseline, shifted(1)[:60]))
    assert "at least 100" in accept(hub, moved)
    with hub.database.session() as session:
        assert session.exec(select(AcceptedInputs)).all() == []


def test_the_oldest_of_many_make_room(hub: HubContext, baseline: Baseline) -> None:
    moved, _ = two_devices(hub)
    take(hub, moved, sketch(baseline, shifted(1)))
    for _ in range(MAX_ACCEPTED + 2):
        assert accept(hub, moved) == ""
    with hub.database.session() as session:
        assert len(session.exec(select(AcceptedInputs)).all()) == MAX_ACCEPTED
