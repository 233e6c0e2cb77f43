"""Version 1 to version 2 by delta in a real fleet: less travels, and of what is secret nothing plain is ever heard."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import Session, col, select
from tests.flows.conftest import MODEL, Fleet, running_fleet
from tests.flows.spy import spying

from shoal_client.rollouts import RolloutDetail
from shoal_hub.database import Database
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.cost_tables import CostRow
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.transfer.tables import Delta
from shoal_numerics.delta import best_delta

X = np.eye(4, dtype=np.float32)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose models are small, and have deltas all the same."""
    with running_fleet(tmp_path, SHOAL_DELTA_MIN_BYTES="1") as running:
        yield running


@contextmanager
def database_of(fleet: Fleet) -> Iterator[Session]:
    database = Database(f"sqlite:///{fleet.hub.data / 'hub.sqlite'}")
    with database.session() as session:
        yield session
    database.close()


def plain_files(fleet: Fleet) -> list[bytes]:
    """Return the versions' plain files, oldest first, from the hub, which alone has them all."""
    with database_of(fleet) as session:
        wanted = select(VariantRow.sha256).join(Version).where(Version.model == MODEL).order_by(col(Version.number))
        names = session.exec(wanted).all()
    store = ArtifactStore(str(fleet.hub.data / "artifacts"))
    return [store.read(name) for name in names]


def delta_row(fleet: Fleet) -> Delta:
    with database_of(fleet) as session:
        return session.exec(select(Delta)).one()


def roll_out(fleet: Fleet, number: int) -> RolloutDetail:
    """Roll a version out to the first agent; return the rollout when the device has told what travelled."""
    kitchen = fleet.agents[0]
    rollout = fleet.watch(fleet.client.rollouts.start(MODEL, number, devices=[kitchen.device_id]).id, "succeeded")
    assert kitchen.serves(MODEL) == number
    tick = threading.Event()
    while rollout.deployments[0].fetched_bytes is None:  # the device's events may come after its report
        tick.wait(0.1)
        rollout = fleet.client.rollouts.show(rollout.id)
    return rollout


def wait_for_measurement(fleet: Fleet, device_id: str) -> CostRow:
    """Return what a device has told of what the version costs it, as the hub keeps it."""
    tick = threading.Event()
    while True:
        with database_of(fleet) as session:
            found = session.exec(select(CostRow).where(CostRow.device_id == device_id)).first()
        if found is not None:
            return found
        tick.wait(0.1)


@pytest.mark.parametrize(
    "is_encrypted", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "encrypted"]
)
def test_a_second_version_travels_as_a_delta(fleet: Fleet, tmp_path: Path, *, is_encrypted: bool) -> None:
    kitchen, garden = fleet.agents
    numbers = [fleet.add_version(tmp_path / f"bundle-{seed}", seed) for seed in (0, 1)]
    for number in numbers if is_encrypted else ():
        fleet.client.models.encrypt(MODEL, number)
    first = roll_out(fleet, numbers[0])
    assert first.fetched_bytes == first.whole_bytes == first.forecast_total_bytes > 0
    measured = wait_for_measurement(fleet, kitchen.device_id)
    (planned,) = fleet.client.rollouts.plan(MODEL, numbers[0], devices=[garden.device_id]).devices
    assert measured.memory_bytes >= 0
    assert measured.latency_p50_ms > 0
    assert (planned.measured_devices, planned.warning, planned.transfer) == (0, None, "broker")
    assert planned.memory_available_bytes is not None
    before = fleet.predict(0, X)

    assert garden.stop() == 0
    with spying(garden) as spy:
        second = roll_out(fleet, numbers[1])
    assert not np.array_equal(fleet.predict(0, X), before)
    assert 0 < second.fetched_bytes < second.whole_bytes / 2
    assert "the whole file then" not in kitchen.log()

    old, new = plain_files(fleet)
    row = delta_row(fleet)
    patch = best_delta(old, new)
    assert patch is not None
    heard = spy.parts_of(ArtifactStore(str(fleet.hub.data / "artifacts")).read(row.artifact_sha256 or ""))
    assert heard > 0, "the spy hears what travels"
    if is_encrypted:
        assert (row.encrypted_size_bytes, row.sha256) != (None, row.artifact_sha256)
        assert [spy.parts_of(secret) for secret in (old, new, patch)] == [0, 0, 0]
        for secret in (old, new, patch):
            for path in kitchen.data.rglob("*"):
                assert not (path.is_file() and secret[88:120] in path.read_bytes()), path
    else:
        assert row.sha256 == row.artifact_sha256
    kitchen.stop()
    kitchen.start()
    assert kitchen.serves(MODEL) == numbers[1]
