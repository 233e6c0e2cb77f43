"""Training as programs: what a person and what a job sees."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shoal_training.bundle import WEIGHTS_FILE, Bundle


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("module", ["shoal_training", "shoal_training.digits"])
def test_each_program_explains_its_options(module: str) -> None:
    done = _run(module, "--help")
    assert done.returncode == 0
    assert "--out" in done.stdout
    assert "--json" in done.stdout


def test_a_failure_is_one_line_of_json_for_a_job(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    done = _run("shoal_training.digits", "--out", str(tmp_path), "--json")
    event = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, event["event"], event["error"]) == (1, "error", "BundleError")


def test_a_failure_is_a_sentence_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    done = _run("shoal_training.digits", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty; name a new folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_new_version_is_made_with_progress_and_result_as_json_lines(bundle_dir: Path, tmp_path: Path) -> None:
    weights = str(bundle_dir / WEIGHTS_FILE)
    options = ("--parent", str(bundle_dir), "--weights", weights, "--out", str(tmp_path / "v2"))
    done = _run("shoal_training", *options, "--author", "fleet", "--tag", "federated", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["done"] for event in events[:-1]] == [0, 1, 2, 3]
    assert Bundle.model_validate(events[-1]["result"]).tags == ("federated",)


def test_a_folder_that_can_not_be_written_is_a_sentence_too(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        "name: a\ndata_ingestion: {sources: [{path: rows.csv}]}\n"
        "model_training: {target: y, trainer: {framework: sklearn, algorithm: logistic_regression}}\n"
    )
    (tmp_path / "store").touch()
    done = _run(
        "shoal_training.pipeline",
        *(str(tmp_path / "pipeline.yaml"), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")),
    )
    assert done.returncode == 1
    assert "name a folder that can be written" in done.stderr
    assert "Traceback" not in done.stderr
