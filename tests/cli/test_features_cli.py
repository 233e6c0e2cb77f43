"""`shoal features` against a real hub."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.served import ServedHub
from tests.simulators.feature_sets import features
from tests.simulators.rows import apply_reported, make_report

from shoal_contract.reported import Problem, SectionReport
from shoal_hub.database import utc_now

GARDEN = DEVICES["garden"]


def test_features_are_set_assigned_and_removed_by_commands(shoal: Shoal, tmp_path: Path) -> None:
    assert "No features yet" in shoal("features", "list").out
    file = tmp_path / "pumps.json"
    file.write_text(json.dumps(features()))
    assert shoal("features", "set", "pumps", str(file)).status == 0
    file.write_text(json.dumps(features(max_waiting=50)))
    assert json.loads(shoal("features", "set", "pumps", str(file), "--json").out)["version"] == 2
    former = json.loads(shoal("features", "show", "pumps", "--version", "1", "--definition").out)
    assert former["pipelines"]["pumps"]["max_waiting"] == 10_000

    assert "No device has them yet" in shoal("features", "status", "pumps").out
    assert shoal("groups", "create", "plant").status == 0
    assert "group plant" in shoal("features", "assign", "pumps", "--group", "plant", "--device", "garden").out
    shown = shoal("features", "status", "pumps").out
    assert (GARDEN in shown, "waiting" in shown) == (True, True)
    assert shoal("features", "remove", "pumps").status == 1
    assert shoal("features", "unassign", "pumps", "--group", "plant", "--device", "garden").status == 0
    assert "no more" in shoal("features", "remove", "pumps").out


def test_a_file_that_is_none_and_a_target_that_is_not_named_are_errors_with_a_remedy(
    shoal: Shoal, tmp_path: Path
) -> None:
    file = tmp_path / "pumps.json"
    file.write_text("{")
    assert f"reading {file}" in shoal("features", "set", "pumps", str(file)).err.replace("\n", "")
    file.write_text("[]")
    assert "expected an object" in shoal("features", "set", "pumps", str(file)).err
    assert "--group NAME or --device DEVICE" in shoal("features", "assign", "pumps").err
    assert shoal("features", "set", "pumps", str(tmp_path / "none.json")).status == 1


@pytest.mark.parametrize("state", ["failed", "applied"])
def test_a_devices_other_sections_are_shown(shoal: Shoal, served: ServedHub, state: str) -> None:
    problem = Problem(code="features", message="no camera", remedy="plug one in")
    said = SectionReport(state=state, problem=problem if state == "failed" else None)  # type: ignore[arg-type]
    sequence = 1 if state == "failed" else 2
    with served.hub.database.transaction() as session:
        report = make_report(sequence=sequence, sections={"features/pumps": said})
        apply_reported(session, GARDEN, report, utc_now())
    shown = shoal("devices", "show", "garden").out
    assert ("features/pumps" in shown, state in shown) == (True, True)
    assert ("no camera; plug one in" in shown) == (state == "failed")
