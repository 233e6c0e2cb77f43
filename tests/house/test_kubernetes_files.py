"""deploy/kubernetes: every object is one that the API's schemas take, and what they name of each other exists."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from shoal_hub.cli import app
from shoal_hub.settings import Settings

VERSION = "1.37"
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def objects(root: Path) -> list[Manifest]:
    paths = sorted((root / "deploy" / "kubernetes").glob("*.yaml"))
    return [one for path in paths for one in yaml.safe_load_all(path.read_text())]


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in objects if one["kind"] in kinds]


def pods(objects: list[Manifest]) -> list[Manifest]:
    """Return every pod's template."""
    [ray] = of_kind(objects, "RayCluster")
    groups = [ray["spec"]["headGroupSpec"], *ray["spec"]["workerGroupSpecs"]]
    return [one["spec"]["template"] for one in of_kind(objects, "Deployment", "StatefulSet")] + [
        group["template"] for group in groups
    ]


def containers(objects: list[Manifest]) -> list[Manifest]:
    return [
        one for pod in pods(objects) for one in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])
    ]


def test_objects_are_what_the_api_s_schemas_take(objects: list[Manifest]) -> None:
    for one in objects:
        if one["kind"] not in {"RayCluster", "Kustomization"}:
            kubernetes_validate.validate(one, VERSION, strict=True)


def test_pods_of_ray_are_what_the_api_s_schemas_take(objects: list[Manifest]) -> None:
    for pod in pods(objects):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": pod}
        kubernetes_validate.validate(template, VERSION, strict=True)


def test_every_file_is_applied_with_the_others_or_says_how(root: Path, objects: list[Manifest]) -> None:
    [applied] = of_kind(objects, "Kustomization")
    there = {path.name for path in (root / "deploy" / "kubernetes").glob("*.yaml")}
    assert {*applied["resources"], "kustomization.yaml", "raycluster.yaml"} == there


def test_pods_mount_claims_and_secrets_that_exist_or_are_told_of(root: Path, objects: list[Manifest]) -> None:
    claims = {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")}
    guide = (root / "docs" / "guides" / "kubernetes.md").read_text()
    for pod in pods(objects):
        volumes = pod["spec"]["volumes"]
        for one in volumes:
            assert "persistentVolumeClaim" not in one or one["persistentVolumeClaim"]["claimName"] in claims
            assert "secret" not in one or f"create secret generic {one['secret']['secretName']}" in guide
        mounted = {mount["name"] for one in pod["spec"]["containers"] for mount in one["volumeMounts"]}
        assert mounted == {one["name"] for one in volumes}


def test_the_autoscaler_scales_what_exists_between_sensible_bounds(objects: list[Manifest]) -> None:
    [scaler] = of_kind(objects, "HorizontalPodAutoscaler")
    deployments = {one["metadata"]["name"]: one for one in of_kind(objects, "Deployment")}
    scaled = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
    assert "replicas" not in scaled["spec"], "it would be set back at each apply"
    assert 1 < scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    asked = scaled["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert {one["resource"]["name"] for one in scaler["spec"]["metrics"]} <= set(asked), "utilisation is of a request"


def test_ray_s_workers_scale_within_their_bounds(objects: list[Manifest]) -> None:
    [ray] = of_kind(objects, "RayCluster")
    assert ray["spec"]["enableInTreeAutoscaling"]
    for group in ray["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        [worker] = group["template"]["spec"]["containers"]
        assert worker["resources"]["requests"] == worker["resources"]["limits"], "Ray plans with the limits"


def test_ray_s_autoscaler_plans_with_what_the_file_says(objects: list[Manifest]) -> None:
    # Read by the code that the autoscaler itself reads a cluster with; it checks what comes of it by its own schema.
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    [cluster] = of_kind(objects, "RayCluster")
    planned = _derive_autoscaling_config_from_ray_cr(cluster)
    nodes = planned["available_node_types"]
    assert nodes[planned["head_node_type"]]["resources"]["CPU"] == 0, "the head takes no work"
    found = {name: (one["min_workers"], one["max_workers"], one["resources"]) for name, one in nodes.items()}
    assert found["cpu"] == (1, 8, {"CPU": 4, "memory": 8 * 1024**3})
    assert found["gpu"] == (0, 4, {"CPU": 8, "GPU": 1, "memory": 32 * 1024**3})
    assert planned["max_workers"] == 12
    assert planned["idle_timeout_minutes"] == 2


def test_ray_is_the_version_that_is_pinned_and_asks_for_a_token(root: Path, objects: list[Manifest]) -> None:
    [cluster] = of_kind(objects, "RayCluster")
    assert f"ray=={cluster['spec']['rayVersion']}" in (root / "constraints.txt").read_text().splitlines()
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


def test_services_choose_pods_that_exist_by_ports_that_they_have(objects: list[Manifest]) -> None:
    for service in of_kind(objects, "Service"):
        chosen = [pod for pod in pods(objects) if service["spec"]["selector"] == pod.get("metadata", {}).get("labels")]
        assert chosen
        ports = {port["name"] for pod in chosen for one in pod["spec"]["containers"] for port in one.get("ports", [])}
        assert {one["targetPort"] for one in service["spec"]["ports"]} <= ports


def test_variables_are_ones_that_the_hub_reads(objects: list[Manifest]) -> None:
    [settings] = of_kind(objects, "ConfigMap")
    hubs = [one for one in containers(objects) if not one["name"].startswith("ray-")]
    named = {variable["name"] for one in hubs for variable in one.get("env", [])}
    assert named | set(settings["data"]) <= set(Settings.environment().values())


def test_commands_are_ones_that_the_hub_has(objects: list[Manifest]) -> None:
    commands = [one["command"] for one in containers(objects) if one.get("command", [""])[0] == "shoal"]
    assert commands
    for command in commands:
        assert CliRunner().invoke(app, [*command[1:], "--help"]).exit_code == 0, command


def test_every_pod_runs_without_root_and_is_bounded(objects: list[Manifest]) -> None:
    for pod in pods(objects):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        for one in pod["spec"]["containers"]:
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["resources"]["requests"]
            assert "memory" in one["resources"]["limits"]
