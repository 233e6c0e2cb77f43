"""Training on a cluster: what is created is what the API takes, its own command trains, and what fails says why."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from tests.simulators.kubernetes_api import VERSION, ClusterSimulator, running_cluster
from tests.training.frameworks.trainers import blobs

from shoal_training.errors import DataError, LaunchError
from shoal_training.frameworks.torch_trainer import Torch
from shoal_training.frameworks.trainer import History, TrainContext
from shoal_training.launchers.kubernetes import Kubernetes, job_name
from shoal_training.launchers.launcher import Local

pytestmark = pytest.mark.timeout(300)
FIELDS: dict[str, Any] = {"image": "shoal-hub:0.1.0", "volume_claim": "training", "volume_folder": "/nowhere"}
FULL = FIELDS | {
    "nodes": 4,
    "processes": 2,
    "cpu": "3500m",
    "memory": "16Gi",
    "gpus": 2,
    "node_selector": {"gpu": "a100"},
    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
    "service_account": "training",
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterSimulator]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running_cluster(tmp_path / "cluster", port) as (simulator, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield simulator


def launcher(cluster: ClusterSimulator, **fields: Any) -> Kubernetes:
    return Kubernetes.model_validate(FIELDS | {"volume_folder": str(cluster.folder)} | fields)


def trainer(**fields: Any) -> Torch:
    usual = {"network": {"kind": "mlp", "hidden": [8]}, "epochs": 6, "batch": 10, "device": "cpu"}
    return Torch.model_validate(usual | fields)


def context(folder: Path, **fields: Any) -> TrainContext:
    return TrainContext(**({"task": "classification", "classes": 3, "folder": folder, "seed": 5} | fields))


@pytest.mark.parametrize("fields", [FIELDS, FULL, FIELDS | {"nodes": 2}])
def test_what_is_rendered_is_what_the_api_s_schemas_take(fields: dict[str, Any]) -> None:
    for one in Kubernetes.model_validate(fields).rendered("shoal-a"):
        kubernetes_validate.validate(one, VERSION, strict=True)


def test_pods_ask_for_what_the_file_says_and_meet_at_the_first_one() -> None:
    service, job = Kubernetes.model_validate(FULL).rendered("shoal-a")
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["metadata"]["name"] == pod["subdomain"] == "shoal-a"
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == ("Indexed", 4, 4)
    assert "--rdzv-endpoint=shoal-a-0.shoal-a:29400" in container["command"]
    assert {"--nnodes=4", "--nproc-per-node=2"} <= set(container["command"])
    assert container["resources"]["limits"] == {"cpu": "3500m", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "training"


def test_one_pod_is_a_plain_job_and_no_service() -> None:
    [job] = Kubernetes.model_validate(FIELDS).rendered("shoal-a")
    assert "completionMode" not in job["spec"]
    assert "--standalone" in job["spec"]["template"]["spec"]["containers"][0]["command"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"memory": "lots"}, "memory"),
        ({"gpus": 1, "processes": 2}, "2 processes share 1 GPUs in a pod"),
        ({"volume_claim": "No_Label"}, "volume_claim"),
        ({"nodes": 0}, "nodes"),
    ],
)
def test_fields_that_no_cluster_takes_are_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Kubernetes.model_validate(FIELDS | fields)


@pytest.mark.slow
def test_the_indexed_job_s_own_command_trains_on_two_nodes_of_two_processes(
    cluster: ClusterSimulator, tmp_path: Path
) -> None:
    samples, told = blobs(240), History()
    fitted = launcher(cluster, nodes=2, processes=2).fit(trainer(), samples, None, context(tmp_path / "w", metric=told))
    assert [one["kind"] for one in cluster.created] == ["Service", "Job"]
    assert (fitted.scores(samples.x).argmax(axis=1) == samples.y).mean() >= 0.85
    assert [step for step, _ in told.points["train_loss"]] == [1, 2, 3, 4, 5, 6]
    again = Local().fit(trainer(), samples, None, context(tmp_path / "w"))
    assert np.array_equal(again.scores(samples.x), fitted.scores(samples.x)), "it is finished: nothing is trained again"
    assert not cluster.objects.get(("Job", job_name(tmp_path / "w"))), "the Job is cleared up"
    assert not list(cluster.folder.iterdir()), "and its files"


@pytest.mark.slow
def test_a_pod_that_is_killed_is_started_again_and_the_training_ends(cluster: ClusterSimulator, tmp_path: Path) -> None:
    samples = blobs(240)
    with cluster.watching("Pod") as told:

        def kill() -> None:
            pod = told.get(timeout=120)["object"]["metadata"]["name"]
            os.killpg(cluster.processes[pod].pid, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        fitted = launcher(cluster).fit(trainer(), samples, None, context(tmp_path / "w"))
        thread.join()
    assert len(cluster.processes) == 2
    assert (fitted.scores(samples.x).argmax(axis=1) == samples.y).mean() >= 0.85


@pytest.mark.slow
def test_a_job_that_was_kept_does_not_stand_for_the_next_training(cluster: ClusterSimulator, tmp_path: Path) -> None:
    samples = blobs(240)
    kept = launcher(cluster, keep_objects=True)
    kept.fit(trainer(), samples, None, context(tmp_path / "w"))
    assert cluster.objects.get(("Job", job_name(tmp_path / "w")))
    shutil.rmtree(tmp_path / "w")
    fitted = kept.fit(trainer(), samples, None, context(tmp_path / "w"))
    assert [one["kind"] for one in cluster.created] == ["Job", "Job"]
    assert (fitted.scores(samples.x).argmax(axis=1) == samples.y).mean() >= 0.85


def test_what_the_cluster_refuses_is_said(cluster: ClusterSimulator, tmp_path: Path) -> None:
    class Refused(Kubernetes):
        def rendered(self, name: str) -> list[dict[str, Any]]:
            [job] = super().rendered(name)
            return [job | {"spec": job["spec"] | {"completions": "two"}}]

    refused = Refused.model_validate(FIELDS | {"volume_folder": str(cluster.folder)})
    with pytest.raises(LaunchError, match=r"creating the Job shoal-\w+ in default: the cluster says 422 .*completions"):
        refused.fit(trainer(), blobs(240), None, context(tmp_path / "w"))


def test_an_error_of_the_training_comes_back_as_itself(cluster: ClusterSimulator, tmp_path: Path) -> None:
    samples = blobs(240)
    samples.x[3, 0] = np.nan
    with pytest.raises(DataError):
        launcher(cluster, max_restarts=0).fit(trainer(), samples, None, context(tmp_path / "w"))
    assert not cluster.objects.get(("Job", job_name(tmp_path / "w")))


def test_no_cluster_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(LaunchError, match="set KUBECONFIG"):
        Kubernetes.model_validate(FIELDS).fit(trainer(), blobs(240), None, context(tmp_path / "w"))
    (tmp_path / "config").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "contexts": []}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(LaunchError, match="set KUBECONFIG"):
        Kubernetes.model_validate(FIELDS | {"context": "other"}).fit(
            trainer(), blobs(240), None, context(tmp_path / "w")
        )
