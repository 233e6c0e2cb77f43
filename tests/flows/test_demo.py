"""The demo as a person runs it, and what its report must hold."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_S = 240
TITLES = 9

pytestmark = pytest.mark.slow


@pytest.mark.timeout(600)
def test_the_demo_shows_its_nine_steps_with_the_figures_that_it_promises(tmp_path: Path) -> None:
    report_path = tmp_path / "report.json"
    command = [sys.executable, "-m", "examples.first_light", "--report", str(report_path), "--folder"]
    done = subprocess.run([*command, str(tmp_path / "data")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    report = json.loads(report_path.read_text())
    steps: list[dict[str, Any]] = report["steps"]
    assert [step["step"] for step in steps] == list(range(1, TITLES + 1))
    assert report["total_s"] < MOST_S

    float32 = steps[1]["accuracy"]
    assert float32 >= 0.96
    assert set(steps[2]["variants"]) == {"generic-litert-int8", "generic-onnx-int8"}
    assert all(variant["accuracy"] >= float32 - 0.01 for variant in steps[2]["variants"].values())
    assert len(steps[3]["devices"]) == 3
    assert steps[4]["waves"] == [1, 2]
    assert set(steps[4]["targets"].values()) == {"generic-litert-int8", "generic-onnx-int8"}
    assert all(device["accuracy"] >= 0.95 for device in steps[5]["devices"].values())
    assert steps[6]["signals_before"] == 0
    assert len(steps[6]["signal"]["devices"]) == 3
    assert len(steps[7]["rounds"]) == 3
    assert all(entry["trained"] == 3 for entry in steps[7]["rounds"])
    assert steps[7]["gain_shifted"] >= 0.05
    assert steps[7]["change_plain"] >= -0.01
    assert steps[7]["provenance"]["federated_run"] == steps[7]["run"]
    assert set(steps[8]["serving"].values()) == {1}
