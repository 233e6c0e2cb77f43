"""Files through the hub: what is taken and refused, how they come back, and those of versions registered otherwise."""

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.registry.bundles import register_bundle, write_bundle

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.registry.tables import Version
from shoal_hub.tracking.tables import TrackedFile

FILES = "/api/2.0/mlflow-artifacts/artifacts"
API = "/api/2.0/mlflow"


def _files(hub: HubContext) -> list[str]:
    with hub.database.session() as session:
        return sorted(session.exec(select(TrackedFile.path)))


def _small(hub: HubContext, client: TestClient, **settings: int) -> TestClient:
    """The same hub with other bounds."""
    other = replace(hub, settings=hub.settings.model_copy(update=settings))
    return TestClient(create_app(other), headers=client.headers, raise_server_exceptions=False)


def test_a_file_comes_back_as_it_was_whole_and_in_ranges_and_never_as_a_page(sqlite_client: TestClient) -> None:
    content = b"<script>alert(1)</script>" * 1000
    headers = {"content-type": "text/html"}
    assert sqlite_client.put(f"{FILES}/0/r/a%20b.html", content=content, headers=headers).json() == {}
    answer = sqlite_client.get(f"{FILES}/0/r/a b.html")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = sqlite_client.get(f"{FILES}/0/r/a b.html", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    listed = sqlite_client.get(FILES, params={"path": "0/r"}).json()
    assert listed == {"files": [{"path": "a b.html", "is_dir": False, "file_size": len(content)}]}


@pytest.mark.parametrize(
    "path", ["%2e%2e/x", "0/%2e%2e/%2e%2e/etc/passwd", "0//x", "0/x%5c..%5cy", "%2Fetc/x", "registry/m/1/a"]
)
def test_no_path_leads_out_of_the_artifacts_or_into_the_registry(
    sqlite_client: TestClient, sqlite_hub: HubContext, path: str
) -> None:
    answer = sqlite_client.put(f"{FILES}/{path}", content=b"x")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
    assert _files(sqlite_hub) == []
    if "registry" not in path:
        assert sqlite_client.get(f"{FILES}/{path}").status_code in {400, 404}
        assert sqlite_client.delete(f"{FILES}/{path}").status_code in {400, 404}


def test_what_is_larger_than_allowed_is_refused_before_or_while_it_comes_and_leaves_nothing(
    sqlite_client: TestClient, sqlite_hub: HubContext
) -> None:
    small = _small(sqlite_hub, sqlite_client, tracking_max_file_bytes=1000, tracking_max_bytes=1500)
    declared = small.put(f"{FILES}/0/a", content=b"x" * 1001)
    streamed = small.put(f"{FILES}/0/a", content=iter([b"x" * 600] * 2))
    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["error_code"]) == (413, "RESOURCE_LIMIT_EXCEEDED")
        assert "SHOAL_TRACKING_MAX_FILE_BYTES" in answer.json()["message"]
    assert small.put(f"{FILES}/0/a", content=b"x" * 900).status_code == 200
    full = small.put(f"{FILES}/0/b", content=b"y" * 900)
    assert "900 of 1500 bytes are taken" in full.json()["message"]
    assert _files(sqlite_hub) == ["0/a"]
    root = sqlite_hub.artifacts.local_root()
    assert root is not None
    assert list(root.glob("incoming-*")) == []


def test_a_body_that_is_too_large_for_any_other_call_is_refused_in_mlflow_s_form(sqlite_client: TestClient) -> None:
    body = {"run_id": "r", "key": "k", "value": "x" * 2**21}
    answer = sqlite_client.post(f"{API}/runs/set-tag", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (413, "RESOURCE_LIMIT_EXCEEDED")


def test_a_version_that_was_registered_otherwise_is_seen_and_fetched_too(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "colours")
    register_bundle(hub, folder)
    client.put("/api/v1/models/colours/aliases/champion", json={"number": 1}).raise_for_status()
    query = {"name": "colours", "alias": "champion"}
    version = client.get(f"{API}/registered-models/alias", params=query).json()["model_version"]
    assert (version["version"], version["status_message"]) == ("1", "devices can serve it")
    where = {"name": "colours", "version": "1"}
    uri = client.get(f"{API}/model-versions/get-download-uri", params=where).json()["artifact_uri"]
    place = uri.removeprefix("mlflow-artifacts:/")
    listed = client.get(FILES, params={"path": place}).json()["files"]
    assert {one["path"] for one in listed} == {path.name for path in folder.iterdir()}
    assert client.get(f"{FILES}/{place}/model.onnx").content == (folder / "model.onnx").read_bytes()
    client.post("/api/v1/models/colours/versions/1/encrypt").raise_for_status()
    assert client.get(f"{FILES}/{place}/model.onnx").json()["error_code"] == "PERMISSION_DENIED"


def test_a_tracked_version_and_one_of_the_fleet_share_numbers_and_one_is_in_production(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    register_bundle(hub, write_bundle(tmp_path / "one"))
    source = {"name": "colours", "source": "s3://elsewhere/model"}
    made = client.post(f"{API}/model-versions/create", json=source).json()["model_version"]
    assert made["version"] == "2"
    assert "its files are not among the hub's artifacts" in made["status_message"]
    assert register_bundle(hub, write_bundle(tmp_path / "two", seed=1)) == 3
    for number in ("2", "3"):
        move = {"name": "colours", "version": number, "stage": "Production"}
        client.post(f"{API}/model-versions/transition-stage", json=move).raise_for_status()
    moves = client.get("/api/v1/models/colours/versions/2/history").json()
    assert [(one["from_stage"], one["to_stage"]) for one in moves] == [
        ("none", "production"),
        ("production", "archived"),
    ]
    refused = client.get("/api/v1/models/colours/versions/2")
    assert (refused.status_code, "tracked only" in refused.json()["error"]["message"]) == (404, True)
    with hub.database.session() as session:
        stages = {row.number: row.stage for row in session.exec(select(Version))}
    assert stages == {1: "none", 3: "production"}


def test_production_that_needs_approvals_is_refused_with_how_to_ask(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    register_bundle(sqlite_hub, write_bundle(tmp_path / "one"))
    sqlite_client.put("/api/v1/models/colours/approval-policy", json={"production": 1}).raise_for_status()
    move = {"name": "colours", "version": "1", "stage": "Production"}
    answer = sqlite_client.post(f"{API}/model-versions/transition-stage", json=move)
    assert (answer.status_code, answer.json()["error_code"]) == (409, "RESOURCE_CONFLICT")
    assert "approvals" in answer.json()["message"]


def test_names_that_devices_could_not_tell_apart_are_refused(sqlite_client: TestClient) -> None:
    create = f"{API}/registered-models/create"
    assert sqlite_client.post(create, json={"name": "My Model"}).status_code == 200
    assert sqlite_client.post(create, json={"name": "My Model"}).json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    other = sqlite_client.post(create, json={"name": "my-model"}).json()
    assert other["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "which is the model 'My Model'" in other["message"]
    for name in ("a/b", "a:b", "", "///", "x" * 300):
        assert sqlite_client.post(create, json={"name": name}).json()["error_code"] == "INVALID_PARAMETER_VALUE"
