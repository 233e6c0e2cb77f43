"""Devices' steps in their open deployments: many at once, the latest counts, what has travelled is never taken back."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from tests.hub.statements import statements
from tests.simulators.rows import HARDWARE, NOON, add_device, add_version

from shoal_contract.telemetry import DeploymentEvent, VersionCost
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.cost_tables import CostRow
from shoal_hub.registry.tables import Model, VariantRow
from shoal_hub.rollouts.progress import STEPS, note_steps
from shoal_hub.rollouts.tables import Deployment, DeploymentState, Rollout


@pytest.fixture
def device_ids(database: Database) -> list[str]:
    """Three devices, each with a deployment `dp-<number>`: assigned, working, succeeded."""
    with database.transaction() as session:
        ids = [add_device(session).id for _ in range(3)]
        session.add(Model(name="digits", created_at=NOON))
        session.flush()
        session.add(_rollout())
        session.flush()
        states: list[DeploymentState] = ["assigned", "working", "succeeded"]
        for number, state in enumerate(states):
            session.add(Deployment(id=f"dp-{number}", rollout_id="r-1", device_id=ids[number], wave=0, state=state))
    return ids


def test_the_steps_of_many_devices_are_noted_at_once_and_an_ended_deployment_keeps_its_end(
    database: Database, device_ids: list[str]
) -> None:
    told = [(device_ids[one], _told(f"dp-{one}", "verify", 700 + one)) for one in range(3)]
    with database.transaction() as session:
        note_steps(session, told, NOON)
    found = [_read(database, f"dp-{one}") for one in range(3)]
    assert found == [("working", "verify", 700), ("working", "verify", 701), ("succeeded", "", 702)]


def test_of_several_steps_the_last_is_shown_with_the_most_that_has_travelled(
    database: Database, device_ids: list[str]
) -> None:
    steps = [("fetch", 9999), ("verify", 700), ("stage", 0), ("activate", 0)]
    with database.transaction() as session:
        note_steps(session, [(device_ids[0], _told("dp-0", step, size)) for step, size in steps], NOON)
        note_steps(session, [(device_ids[0], _told("dp-0", "commit", 3))], NOON)
    assert _read(database, "dp-0") == ("working", "commit", 700)


def test_a_step_in_the_deployment_of_another_device_changes_nothing(database: Database, device_ids: list[str]) -> None:
    with database.transaction() as session:
        note_steps(session, [(device_ids[1], _told("dp-0", "commit", 5))], NOON)
    assert _read(database, "dp-0") == ("assigned", "", None)


def test_readers_are_told_of_steps_and_of_no_change_of_the_rollout(database: Database, device_ids: list[str]) -> None:
    words: set[str] = set()
    database.on_commit = words.update
    with database.transaction() as session:
        note_steps(session, [(device_ids[0], _told("dp-0", "stage", 5))], NOON)
    assert words == {STEPS}


def test_what_many_devices_have_measured_is_taken_with_a_statement_of_each_kind(
    database: Database, device_ids: list[str], tmp_path: Path
) -> None:
    with database.transaction() as session:
        version = add_version(session, ArtifactStore(str(tmp_path)), 1, {"pi": b"model"})
        sha256 = session.exec(select(VariantRow.sha256).where(VariantRow.version_id == version.id)).one()
        for number, device_id in enumerate(device_ids):
            session.get_one(Deployment, f"dp-{number}").target = "pi"
            session.get_one(Device, device_id).hardware = HARDWARE.model_dump(mode="json")
    for latency_ms in (2.0, 3.0):
        cost = VersionCost(sha256=sha256, latency_p50_ms=latency_ms, runs=5, memory_bytes=1)
        told = [(one, _told(f"dp-{n}", "activate", 5, cost=cost)) for n, one in enumerate(device_ids)]
        with statements(database) as seen, database.transaction() as session:
            note_steps(session, told, NOON)
        assert seen == ["UPDATE", "SELECT", "SELECT", "INSERT"]
        with database.session() as session:
            found = {(row.device_id, row.latency_p50_ms, row.hardware) for row in session.exec(select(CostRow))}
        assert found == {(one, latency_ms, "test board (x86_64)") for one in device_ids}


def _told(deployment: str, step: Any, fetched_bytes: int, **more: Any) -> DeploymentEvent:
    return DeploymentEvent(
        model="digits", version=1, deployment=deployment, step=step, fetched_bytes=fetched_bytes, **more
    )


def _read(database: Database, deployment: str) -> tuple[str, str, int | None]:
    with database.session() as session:
        row = session.get_one(Deployment, deployment)
        return row.state, row.step, row.fetched_bytes


def _rollout() -> Rollout:
    return Rollout(
        id="r-1",
        model="digits",
        version=1,
        manifest_sha256="0" * 64,
        manifest_size_bytes=1,
        waves=[3],
        timeout_s=60,
        created_by="ada",
        created_at=NOON,
    )
