"""The example pipelines, from raw rows to agents that answer: trained here, on a cluster, and brought by MLflow."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.first_light.fleet import Fleet
from examples.first_light.watching import rolled_out
from examples.pipelines.data import HERE, write_data
from examples.pipelines.walk import AGENTS, RECIPES, Came, Walk, asked, held_out, started
from tests.simulators.kubernetes_api import running_cluster

from shoal_client.profile import read_profile
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.running import run_pipeline
from shoal_training.pipeline.steps import HISTORY_FILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KUBERNETES = """\
  compute:
    launcher: kubernetes
    image: registry.example/shoal-hub:0.1.0
    volume_claim: training
    volume_folder: {folder}
    processes: 2
"""
RAY = """\
  compute: {launcher: ray, workers: 2}
"""
MLFLOW = """
import mlflow
from mlflow import MlflowClient

mlflow.set_experiment("somebody's own training")
with mlflow.start_run() as run:
    mlflow.log_artifacts("bundle", "bundle")
version = mlflow.register_model(f"{run.info.artifact_uri}/bundle", "motion")
MlflowClient().set_registered_model_alias("motion", "champion", version.version)
assert mlflow.artifacts.download_artifacts("models:/motion@champion")
"""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A hub and two agents as processes, over mutual TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(one for one in sys.path if one))
        with Fleet(tmp_path_factory.mktemp("examples"), keep=False) as fleet, started(fleet) as begun:
            yield begun


@pytest.mark.parametrize(
    ("name", "recipes", "least"),
    [
        ("digit_images", {"int8-onnx", "float16"}, 0.95),
        ("motion", {"int8-litert"}, 0.9),
        ("progression", {"tree-onnx"}, 0.6),
        ("odd_cells", {"tree-onnx"}, 0.9),
    ],
)
def test_each_pipeline_ends_on_agents_that_say_what_was_trained(
    walk: Walk, name: str, recipes: set[str], least: float
) -> None:
    write_data(name)
    came = walk.go(HERE / name / "pipeline.yaml", RECIPES[name])
    assert came.recipe in recipes
    assert came.trained >= least
    check_agents(came)
    version = walk.client.models.version(came.model, str(came.version))
    assert [one.target for one in version.variants] == [came.target]
    assert version.provenance is not None


def test_a_pipeline_trained_by_a_job_of_kubernetes_ends_on_agents_as_well(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running_cluster(tmp_path / "cluster", port) as (cluster, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        file = changed("digit_images", tmp_path, KUBERNETES.format(folder=cluster.folder))
        run = run_pipeline(read_pipeline(file), walk.store)
        [job] = cluster.created
    assert job["kind"] == "Job"
    assert "--nproc-per-node=2" in job["spec"]["template"]["spec"]["containers"][0]["command"]
    number = walk.client.models.register_bundle(Path(run.bundle)).number
    check_agents(walk.serve(run, number, RECIPES["digit_images"]))


def test_a_pipeline_trained_by_two_workers_of_ray_ends_on_agents_as_well(walk: Walk, tmp_path: Path) -> None:
    run = walk.train(changed("digit_images", tmp_path, RAY))
    number = walk.client.models.register_bundle(Path(run.bundle)).number
    trained = next(one for one in run.steps if one.name == "train")
    told = json.loads((walk.store / "steps" / trained.key / HISTORY_FILE).read_text())
    assert told["facts"]["processes"] == 2
    check_agents(walk.serve(run, number, RECIPES["digit_images"]))


def test_a_model_that_mlflow_s_client_has_registered_is_rolled_out_by_its_alias(walk: Walk, tmp_path: Path) -> None:
    write_data("motion")
    run = walk.train(HERE / "motion" / "pipeline.yaml")
    shutil.copytree(run.bundle, tmp_path / "bundle")
    profile = read_profile(walk.fleet.folder / "profile.json")
    environ = os.environ | {
        "MLFLOW_TRACKING_URI": profile.url,
        "MLFLOW_TRACKING_TOKEN": profile.token.get_secret_value(),
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(profile.ca_path),
        "REQUESTS_CA_BUNDLE": str(profile.ca_path),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-c", MLFLOW]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    number = walk.client.models.version("motion", "champion").number
    walk.client.wait_for_job(walk.client.models.compress("motion", number, ["unmodified"]).id)
    devices = [one.device_id for one in walk.fleet.agents]
    rolled_out(walk.console, walk.client, "motion", "champion", devices, (len(devices),))
    held = held_out(run, walk.store)
    for agent in walk.fleet.agents:
        assert agent.ask("/v2/models/motion")["versions"] == [str(number)]
        assert (held.said(asked(agent, "motion", held.inputs)) == held.said(held.scores)).mean() >= 0.99


def changed(name: str, folder: Path, compute: str) -> Path:
    """Write a pipeline with other compute, beside its data; return the file."""
    write_data(name)
    (folder / name).mkdir()
    (folder / name / "data").symlink_to(HERE / name / "data")
    lines = (HERE / name / "pipeline.yaml").read_text().splitlines(keepends=True)
    [here] = [at for at, line in enumerate(lines) if line.startswith("  compute: {launcher: local")]
    file = folder / name / "pipeline.yaml"
    file.write_text("".join([*lines[:here], compute, *lines[here + 1 :]]))
    return file


def check_agents(came: Came) -> None:
    """See that all agents answer nearly as the trained model does, from a smaller file."""
    assert came.bytes_after < 0.6 * came.bytes_before
    assert set(came.on_agents) == set(AGENTS)
    assert min(came.agreement.values()) >= 0.97
    assert min(came.on_agents.values()) >= came.trained - 0.02
