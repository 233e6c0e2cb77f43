"""Versions afterwards: found by number, latest, stage and alias; moved through stages; published to devices."""

import json
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.hub.registry.bundles import register_bundle, write_bundle

from shoal_contract.manifest import VersionManifest
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.publish import publish_manifest
from shoal_hub.registry.tables import VariantRow
from shoal_hub.registry.versions import find_version, set_alias

VERSIONS = "/api/v1/models/colours/versions"


@pytest.fixture
def two_versions(client: TestClient, hub: HubContext, tmp_path: Path) -> TestClient:
    for seed in (0, 1):
        register_bundle(hub, write_bundle(tmp_path / str(seed), seed=seed))
    return client


def add_variant(hub: HubContext, number: int, target: str = "generic-onnx-int8") -> None:
    with hub.database.transaction() as session:
        version = find_version(session, "colours", str(number))
        version.golden_inputs = {"features": {"datatype": "FP32", "shape": [1], "data": "AACAPw=="}}
        session.add(version)
        stored = store_artifact(session, hub.artifacts, f"{number} {target}".encode())
        row = VariantRow(
            version_id=version.id,  # type: ignore[arg-type]
            target=target,
            runtime="onnxruntime",
            format="onnx",
            precision="int8",
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            golden_outputs={"probabilities": {"datatype": "FP32", "shape": [1], "data": "AACAPw=="}},
            golden_tolerance=0.1,
            created_at=utc_now(),
        )
        session.add(row)


def test_a_version_is_found_by_number_latest_stage_and_alias(two_versions: TestClient) -> None:
    client = two_versions
    assert client.post(f"{VERSIONS}/1/stage", json={"stage": "staging"}).status_code == 200
    assert client.put("/api/v1/models/colours/aliases/champion", json={"number": 1}).status_code == 200
    found = {
        ref: client.get(f"{VERSIONS}/{ref}").json()["number"] for ref in ("1", "2", "latest", "staging", "champion")
    }
    assert found == {"1": 1, "2": 2, "latest": 2, "staging": 1, "champion": 1}


def test_two_that_set_a_new_alias_at_once_come_one_after_the_other(two_versions: TestClient, hub: HubContext) -> None:
    alias = "/api/v1/models/colours/aliases/champion"
    answers: list[int] = []
    second = threading.Thread(target=lambda: answers.append(two_versions.put(alias, json={"number": 2}).status_code))
    with hub.database.transaction() as session:
        set_alias(session, "colours", "champion", 1)
        session.flush()
        second.start()
        second.join(0.5)
        assert second.is_alive(), "it waits for the first"
    second.join()
    assert answers == [200]
    assert two_versions.get("/api/v1/models/colours").json()["aliases"] == {"champion": 2}


def test_an_alias_moves(two_versions: TestClient) -> None:
    for number in (1, 2):
        two_versions.put("/api/v1/models/colours/aliases/champion", json={"number": number})
    assert two_versions.get(f"{VERSIONS}/champion").json()["number"] == 2
    assert two_versions.get("/api/v1/models/colours").json()["aliases"] == {"champion": 2}


@pytest.mark.parametrize(
    "ref", ["3", "0", "production", "nobody", "99999999999999999999", "-1", "1%2F2", "%F0%9F%90%9F", "٣"]
)
def test_a_version_that_is_not_there_is_not_found(two_versions: TestClient, ref: str) -> None:
    response = two_versions.get(f"{VERSIONS}/{ref}")
    assert response.status_code == 404
    assert response.json()["error"]["remedy"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/models/fish", None, 404),
        ("GET", "/models/UPPER", None, 422),
        ("GET", "/models/fish/versions/1", None, 404),
        ("POST", "/models/colours/versions/9/stage", {"stage": "staging"}, 404),
        ("POST", "/models/colours/versions/1/stage", {"stage": "best"}, 422),
        ("POST", "/models/colours/versions/99999999999/stage", {"stage": "staging"}, 422),
        ("POST", "/models/colours/versions/1/stage", {"stage": "staging", "comment": "x\x00"}, 422),
        ("GET", "/models/colours/versions/9/history", None, 404),
        ("PUT", "/models/colours/aliases/champion", {"number": 9}, 404),
        ("PUT", "/models/colours/aliases/champion", {"number": 2**40}, 422),
        ("PUT", "/models/colours/aliases/latest", {"number": 1}, 409),
        ("PUT", "/models/colours/aliases/12", {"number": 1}, 409),
        ("POST", "/models/colours/versions/9/compress", {"techniques": []}, 404),
        ("POST", "/models/colours/versions/1/compress", {"techniques": ["magic"]}, 422),
        ("POST", "/models/colours/versions/1/compress", {"techniques": "int8"}, 422),
        ("PATCH", "/models/colours", {"rollout_on_production": {"waves": [0]}}, 422),
        ("PATCH", "/models/colours", {"rollout_on_production": {"timeout_s": 1e400}}, 422),
        ("GET", "/artifacts/" + "0" * 64, None, 404),
        ("GET", "/artifacts/nonsense", None, 422),
    ],
)
def test_bad_input_is_refused(two_versions: TestClient, method: str, path: str, body: object, status: int) -> None:
    content = None if body is None else json.dumps(body)  # not the client's own: it refuses what is not finite
    headers = {"content-type": "application/json"}
    response = two_versions.request(method, f"/api/v1{path}", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


def test_a_new_production_version_archives_the_former_and_history_tells_who_and_why(two_versions: TestClient) -> None:
    client = two_versions
    client.post(f"{VERSIONS}/1/stage", json={"stage": "production", "comment": "good enough"})
    client.post(f"{VERSIONS}/2/stage", json={"stage": "production"})
    stages = {item["number"]: item["stage"] for item in client.get("/api/v1/models/colours").json()["version_list"]}
    assert stages == {1: "archived", 2: "production"}
    history = client.get(f"{VERSIONS}/1/history").json()
    assert [(move["from_stage"], move["to_stage"], move["by"], move["comment"]) for move in history] == [
        ("none", "production", "ada", "good enough"),
        ("production", "archived", "ada", "version 2 became production"),
    ]
    assert client.get("/api/v1/models").json()[0]["production"] == 2


def test_a_move_to_the_same_stage_changes_nothing(two_versions: TestClient) -> None:
    for _ in range(2):
        assert two_versions.post(f"{VERSIONS}/1/stage", json={"stage": "staging"}).status_code == 200
    assert len(two_versions.get(f"{VERSIONS}/1/history").json()) == 1


def test_a_model_keeps_its_policy_until_it_is_taken_away(two_versions: TestClient) -> None:
    policy = {"waves": [1, 5], "max_failures": 1, "timeout_s": 60.0}
    shown = two_versions.patch("/api/v1/models/colours", json={"rollout_on_production": policy}).json()
    assert shown["rollout_on_production"] == policy
    shown = two_versions.patch("/api/v1/models/colours", json={"description": "fish"}).json()
    assert (shown["description"], shown["rollout_on_production"]) == ("fish", policy)
    assert (
        two_versions.patch("/api/v1/models/colours", json={"rollout_on_production": None}).json()[
            "rollout_on_production"
        ]
        is None
    )


def test_production_starts_the_rollout_of_the_models_policy(two_versions: TestClient, hub: HubContext) -> None:
    client = two_versions
    client.patch("/api/v1/models/colours", json={"rollout_on_production": {"waves": [1], "timeout_s": 60}})
    refused = client.post(f"{VERSIONS}/1/stage", json={"stage": "production"})
    assert refused.status_code == 422, "there is no device"
    assert client.get(f"{VERSIONS}/1").json()["stage"] == "none"
    with hub.database.transaction() as session:
        session.add(
            Device(id="d-" + "a" * 16, public_key_sha256="0" * 64, certificate_serial="1", enrolled_at=utc_now())
        )
    add_variant(hub, 1)
    moved = client.post(f"{VERSIONS}/1/stage", json={"stage": "production"}).json()
    rollout = client.get(f"/api/v1/rollouts/{moved['rollout']}").json()
    assert (rollout["version"], rollout["timeout_s"], rollout["created_by"]) == (1, 60.0, "ada")
    assert client.post(f"{VERSIONS}/1/stage", json={"stage": "production"}).json()["rollout"] is None


def test_a_manifest_is_listed_states_the_version_and_does_not_change_without_reason(
    two_versions: TestClient, hub: HubContext
) -> None:
    add_variant(hub, 1)
    with hub.database.transaction() as session:
        version = find_version(session, "colours", "1")
        first = publish_manifest(session, hub.artifacts, hub.trust, hub.director, version)
        assert publish_manifest(session, hub.artifacts, hub.trust, hub.director, version) == first
    manifest = VersionManifest.model_validate_json(hub.artifacts.read(first.sha256))
    assert (manifest.model, manifest.version, manifest.labels) == ("colours", 1, ("red", "green", "blue"))
    assert [variant.target for variant in manifest.variants] == ["generic-onnx-int8"]
    assert two_versions.get(f"{VERSIONS}/1").json()["manifest_sha256"] == first.sha256
    add_variant(hub, 1, target="pi4-litert-int8")
    with hub.database.transaction() as session:
        second = publish_manifest(session, hub.artifacts, hub.trust, hub.director, version)
    assert second != first
    with hub.database.session() as session:
        listed = hub.trust.reading(session).targets("models/colours").targets
    assert set(listed) == {f"models/colours/1-{one.sha256}.json" for one in (first, second)}


@pytest.mark.usefixtures("two_versions")
def test_a_version_without_variants_has_no_manifest_and_says_what_to_do(hub: HubContext) -> None:
    with pytest.raises(ConflictError, match="shoal models compress colours 1"), hub.database.transaction() as session:
        publish_manifest(session, hub.artifacts, hub.trust, hub.director, find_version(session, "colours", "1"))


def test_compress_queues_a_job(two_versions: TestClient) -> None:
    response = two_versions.post(f"{VERSIONS}/1/compress", json={"techniques": ["int8-qdq-onnx"]})
    assert response.status_code == 202
    job = response.json()
    assert job["params"]["techniques"] == ["int8-qdq-onnx"]
    assert (job["kind"], job["state"], job["subject"], job["created_by"]) == (
        "compress",
        "queued",
        "model/colours/1",
        "ada",
    )
    assert two_versions.get(f"/api/v1/jobs/{job['id']}").json() == job


def test_an_artifact_can_be_read_whole_and_in_ranges(two_versions: TestClient) -> None:
    files = two_versions.get(f"{VERSIONS}/1").json()["files"]
    url = f"/api/v1/artifacts/{files['model.onnx']}"
    whole = two_versions.get(url).content
    part = two_versions.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    for asked, status, code in ((f"bytes={len(whole)}-", 416, "no_such_range"), ("bytes=x", 400, "malformed")):
        refused = two_versions.get(url, headers={"Range": asked})
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert refused.headers.get("content-range") == (f"bytes */{len(whole)}" if status == 416 else None)


def test_the_manifest_that_servers_load_by_is_the_one_that_devices_get(
    two_versions: TestClient, hub: HubContext
) -> None:
    add_variant(hub, 2)
    answer = two_versions.get(f"{VERSIONS}/latest/manifest")
    assert VersionManifest.model_validate_json(answer.content).version == 2
    assert two_versions.get(f"{VERSIONS}/2").json()["manifest_sha256"] is None, "nothing is written"
    with hub.database.transaction() as session:
        version = find_version(session, "colours", "2")
        published = publish_manifest(session, hub.artifacts, hub.trust, hub.director, version)
    assert answer.headers["etag"] == f'"{published.sha256}"'
    again = two_versions.get(f"{VERSIONS}/2/manifest", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    add_variant(hub, 2, target="pi4-litert-int8")
    changed = two_versions.get(f"{VERSIONS}/2/manifest", headers={"If-None-Match": answer.headers["etag"]})
    assert changed.status_code == 200


def test_a_version_that_is_encrypted_or_has_no_variant_has_no_manifest_for_servers(
    two_versions: TestClient, hub: HubContext
) -> None:
    bare = two_versions.get(f"{VERSIONS}/1/manifest")
    assert (bare.status_code, "shoal models compress" in bare.json()["error"]["remedy"]) == (409, True)
    add_variant(hub, 1)
    with hub.database.transaction() as session:
        find_version(session, "colours", "1").is_encrypted = True
    sealed = two_versions.get(f"{VERSIONS}/1/manifest")
    assert sealed.status_code == 409
    assert "for devices alone" in sealed.json()["error"]["message"]
    assert two_versions.get(f"{VERSIONS}/9/manifest").status_code == 404
