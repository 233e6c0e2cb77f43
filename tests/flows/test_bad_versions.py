"""Versions that can not serve: the rollout says why, the last good version serves on, and a good one gets through."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import Session, select
from tests.fixtures.hostile_files import onnx_that_reads
from tests.flows.conftest import MODEL, Fleet

from shoal_client.rollouts import RolloutDetail
from shoal_hub.database import Database
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.tables import VariantRow, Version

Spoil = Callable[[Session, ArtifactStore, VariantRow], None]


def spoil(fleet: Fleet, number: int, change: Spoil) -> None:
    """Change a version's only variant behind the registry's back, before its manifest is signed."""
    database = Database(f"sqlite:///{fleet.hub.data / 'hub.sqlite'}")
    with database.transaction() as session:
        version = session.exec(select(Version).where(Version.model == MODEL, Version.number == number)).one()
        row = session.exec(select(VariantRow).where(VariantRow.version_id == version.id)).one()
        change(session, ArtifactStore(str(fleet.hub.data / "artifacts")), row)
        session.add(row)
    database.close()


def does_not_load(session: Session, store: ArtifactStore, row: VariantRow) -> None:
    row.sha256, row.size_bytes = store_artifact(session, store, b"\x08\x09 this is no model" * 100)


def reads_another_file(session: Session, store: ArtifactStore, row: VariantRow) -> None:
    """What a hub would sign only if its gate had failed: the device looks for itself."""
    row.sha256, row.size_bytes = store_artifact(session, store, onnx_that_reads("/etc/passwd"))


def is_for_another_target(_session: Session, _store: ArtifactStore, row: VariantRow) -> None:
    row.target = "jetson-orin-onnx-fp16"


def fails_its_golden_input(_session: Session, _store: ArtifactStore, row: VariantRow) -> None:
    ((name, tensor),) = row.golden_outputs.items()
    other = np.flip(np.frombuffer(base64.b64decode(tensor["data"]), dtype="<f4")) * 0.5
    row.golden_outputs = {name: tensor | {"data": base64.b64encode(other.astype("<f4").tobytes()).decode()}}


def roll_out(fleet: Fleet, number: int, until: str) -> RolloutDetail:
    rollout = fleet.client.rollouts.start(MODEL, number, devices=fleet.device_ids, waves=[1, 1])
    return fleet.watch(rollout.id, until)


@pytest.mark.slow
def test_a_version_that_can_not_serve_is_aborted_with_the_reason_and_the_last_good_one_serves(
    fleet: Fleet, tmp_path: Path
) -> None:
    good = fleet.add_version(tmp_path / "good", 0)
    roll_out(fleet, good, "succeeded")
    cases: list[tuple[Spoil, str]] = [
        (does_not_load, "load"),
        (reads_another_file, "/etc/passwd"),
        (is_for_another_target, "jetson-orin-onnx-fp16"),
        (fails_its_golden_input, "golden"),
    ]
    for seed, (change, words) in enumerate(cases, start=1):
        bad = fleet.add_version(tmp_path / change.__name__, seed)
        spoil(fleet, bad, change)

        rollout = roll_out(fleet, bad, "aborted")

        first, second = rollout.deployments
        assert first.state in {"failed", "rolled_back"}  # taken back as soon as the abort has reached the device
        assert first.problem is not None
        assert words in first.problem.message, first.problem
        assert words in rollout.reason
        assert first.problem.remedy
        assert second.state in {"pending", "cancelled"}, "the second wave must not begin"
        assert [agent.serves(MODEL) for agent in fleet.agents] == [good, good]

    better = fleet.add_version(tmp_path / "better", 9)
    roll_out(fleet, better, "succeeded")
    assert [agent.serves(MODEL) for agent in fleet.agents] == [better, better]
