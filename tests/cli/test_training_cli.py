"""Trainings by the CLI: recorded at a real hub where one is known, and sent there to be done."""

import json
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Shoal
from tests.hub.served import ServedHub

from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.log import log_path
from shoal_hub.jobs.tables import Job
from shoal_hub.tracking.files import files_below

PIPELINE = """\
name: cheap
data_ingestion: {sources: [{path: data/rows.parquet}]}
model_training:
  target: y
  trainer: {framework: sklearn, algorithm: logistic_regression}
model_evaluation: {resamples: 0}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    (tmp_path / "data").mkdir()
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "high", "low")})
    pq.write_table(table, tmp_path / "data" / "rows.parquet")
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return path


def do(served: ServedHub, job_id: str) -> None:
    """Do a job, as its process would."""
    with served.hub.database.transaction() as session:
        session.get_one(Job, job_id).state = "running"
    run_job(job_id, served.hub.settings)


def test_a_training_here_is_recorded_at_the_hub_unless_that_is_not_wanted(
    shoal: Shoal, served: ServedHub, pipeline: Path, tmp_path: Path
) -> None:
    command = ("train", str(pipeline), "--store", str(tmp_path / "store"), "--json")
    ran = shoal(*command)
    assert ran.status == 0, ran.err
    run = json.loads(ran.out)
    [recorded] = json.loads(shoal("runs", "list", "--experiment", "cheap", "--json").out)
    assert (recorded["name"], recorded["status"]) == (run["id"], "FINISHED")
    assert recorded["metrics"]["accuracy"] == run["metrics"]["accuracy"]
    shown = json.loads(shoal("runs", "show", recorded["id"], "--json").out)
    assert shown["tags"]["shoal.data"] == run["snapshot"]
    with served.hub.database.session() as session:
        root = shown["artifact_uri"].removeprefix("mlflow-artifacts:/")
        assert f"{root}/reports/evaluation.html" in [row.path for row in files_below(session, root)]
    assert shoal(*command, "--no-record").status == 0
    assert len(json.loads(shoal("runs", "list", "--experiment", "cheap", "--json").out)) == 1


def test_recording_that_is_asked_for_needs_a_hub(
    shoal: Shoal, pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_PROFILE", str(tmp_path / "none.json"))
    command = ("train", str(pipeline), "--store", str(tmp_path / "store"))
    refused = shoal(*command, "--record")
    assert refused.status != 0
    assert not (tmp_path / "store").exists(), "before anything is done"


def test_a_pipeline_is_sent_to_the_hub_with_its_files_followed_cancelled_and_done_again(
    shoal: Shoal, served: ServedHub, pipeline: Path
) -> None:
    ran = shoal("train", str(pipeline), "--at-hub", "--detach", "--alias", "first", "--priority", "7", "--json")
    assert ran.status == 0, ran.err
    job = json.loads(ran.out)
    assert (job["kind"], job["state"], job["priority"]) == ("training", "queued", 7)
    assert "cancelled by ada" in shoal("jobs", "cancel", job["id"]).out
    assert json.loads(shoal("jobs", "retry", job["id"], "--json").out)["state"] == "queued"
    path = log_path(served.hub.settings, job["id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("it begins\n")
    doing = threading.Thread(target=do, args=(served, job["id"]))
    doing.start()
    followed = shoal("jobs", "log", job["id"], "--follow")
    doing.join()
    assert followed.out == "it begins\n"
    done = json.loads(shoal("jobs", "show", job["id"], "--json").out)
    assert done["state"] == "succeeded", done["error"]
    assert json.loads(shoal("models", "show", "cheap", "--json").out)["aliases"] == {"first": 1}
    assert shoal("jobs", "retry", job["id"]).status != 0


def test_a_file_that_lies_elsewhere_is_not_sent(shoal: Shoal, pipeline: Path) -> None:
    inner = pipeline.parent / "inner"
    inner.mkdir()
    (inner / "pipeline.yaml").write_text(PIPELINE.replace("data/rows", "../data/rows"))
    ran = shoal("train", str(inner / "pipeline.yaml"), "--at-hub")
    assert ran.status != 0
    assert "does not lie beside the pipeline file" in ran.err
