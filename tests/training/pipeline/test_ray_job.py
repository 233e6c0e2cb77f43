"""A pipeline as a job of a cluster of Ray: its record comes back, its errors as themselves, and it can be ended."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.training.frameworks.trainers import blobs
from tests.training.ray_head import RayHead
from typer.testing import CliRunner

from shoal_hub.cli import app
from shoal_training.errors import LaunchError, LimitError
from shoal_training.pipeline.ray_job import submit
from shoal_training.pipeline.reading import PipelineFile, read_pipeline
from shoal_training.pipeline.running import run_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
TORCH = {"framework": "torch", "network": {"kind": "mlp", "hidden": [8]}, "epochs": 3, "batch": 16, "device": "cpu"}


def pipeline(folder: Path, compute: Any, **fields: Any) -> PipelineFile:
    folder.mkdir(exist_ok=True)
    samples = blobs(240)
    columns = {f"f{at}": samples.x[:, at].astype(np.float64) for at in range(samples.x.shape[1])}
    pq.write_table(pa.table({**columns, "y": samples.y}), folder / "rows.parquet")
    asked = {
        "name": "blobs",
        "seed": 4,
        "data_ingestion": {"sources": [{"path": "rows.parquet"}]},
        "model_training": {"target": "y", "trainer": TORCH, "compute": compute, **fields.pop("training", {})},
        "model_evaluation": {"resamples": 0, **fields},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(asked))
    return read_pipeline(folder / "pipeline.yaml")


def test_a_pipeline_on_a_cluster_comes_to_what_it_comes_to_here(cluster: RayHead, tmp_path: Path) -> None:
    local = {"launcher": "local", "threads": 1}
    here = run_pipeline(pipeline(tmp_path / "here", local), tmp_path / "here" / "store")
    told: list[str] = []
    asked = pipeline(tmp_path / "there", "ray")  # within the job, the cluster's own
    job = submit(asked, cluster.dashboard, tmp_path / "there" / "store", is_fresh=False)
    record = job.result(lambda stage, _done, _total: told.append(stage))
    assert job.status() == "SUCCEEDED"
    assert record.metrics == here.metrics
    assert record.history == here.history
    assert {"prepare", "train", "evaluate"} <= set(told)
    assert (Path(record.bundle) / "bundle.json").is_file(), "one disk: it lies here as well"


def test_an_error_of_the_pipeline_comes_back_as_itself(cluster: RayHead, tmp_path: Path) -> None:
    asked = pipeline(tmp_path / "there", "local", limits={"accuracy": 1.1})
    job = submit(asked, cluster.dashboard, tmp_path / "store", is_fresh=False)
    with pytest.raises(LimitError, match="accuracy"):
        job.result()
    assert job.status() == "FAILED"


def test_what_is_broken_off_here_ends_there(cluster: RayHead, tmp_path: Path) -> None:
    class BrokenOffError(Exception):
        pass

    def break_off(stage: str, done: int, _total: int) -> None:
        if stage == "train" and done > 1:
            raise BrokenOffError

    asked = pipeline(tmp_path / "there", "local", training={"trainer": TORCH | {"epochs": 100_000}})
    job = submit(asked, cluster.dashboard, tmp_path / "store", is_fresh=False)
    with pytest.raises(BrokenOffError):
        job.result(break_off)
    with pytest.raises(LaunchError, match="ended as STOPPED"):
        job.result()


@pytest.mark.usefixtures("cluster")  # Ray looks for a token once in a process
def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="name the address of the cluster's dashboard"):
        submit(pipeline(tmp_path, "local"), "http://127.0.0.1:1", tmp_path / "store", is_fresh=False)


def test_the_command_line_runs_it_there_and_prints_its_record(cluster: RayHead, tmp_path: Path) -> None:
    asked = pipeline(tmp_path / "there", "local")
    words = ["train", str(asked.path), "--on-ray", cluster.dashboard, "--store", str(tmp_path / "store"), "--json"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["state"] == "finished"
    assert "runs as the job raysubmit_" in answer.stderr


def test_a_pipeline_on_a_ray_of_its_own_comes_to_what_it_comes_to_here(tmp_path: Path) -> None:
    here = run_pipeline(pipeline(tmp_path / "here", {"launcher": "local", "threads": 1}), tmp_path / "store")
    there = run_pipeline(pipeline(tmp_path / "there", "ray"), tmp_path / "store")
    assert not there.steps[-2].is_cached
    assert here.metrics == there.metrics
    assert here.history == there.history
