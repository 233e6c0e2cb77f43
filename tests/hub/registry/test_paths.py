"""Names in uploads, bundles and addresses are refused or stay in their folder; nothing of the hub's is read or told."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from tests.contract.test_paths import HOSTILE, names
from tests.hub.registry.bundles import post_bundle, record, write_bundle

from shoal_contract.ids import sha256_hex
from shoal_hub.context import HubContext
from shoal_hub.errors import ArtifactError, InvalidInputError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.bundle_files import check_file_name
from shoal_hub.registry.inspection import inspect


@given(names)
def test_the_name_of_an_uploaded_file_is_one_part_of_a_path_or_refused(name: str) -> None:
    for given_name in (name, f"{name}.onnx", f"{name}/model.onnx"):
        try:
            taken = check_file_name(given_name)
        except InvalidInputError as error:
            assert error.remedy  # noqa: PT017 - either way out is right
            continue
        assert (Path("/srv/uploads") / taken).parent == Path("/srv/uploads")


@given(names)
def test_no_name_but_a_hash_becomes_part_of_the_stores_path(name: str) -> None:
    store = ArtifactStore("memory://paths")
    for read in (store.has, store.read):
        with pytest.raises(ArtifactError):
            read(name)


@pytest.mark.parametrize("name", ["../../trust/director-1.key", "/etc/passwd", "..\\x.onnx", "a/../../x.json"])
def test_a_bundle_that_names_a_file_of_the_hub_gets_neither_the_file_nor_its_hash(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)
    key = next((sqlite_hub.settings.data / "trust").glob("director-*.key")).read_bytes()
    passwd = Path("/etc/passwd").read_bytes()
    folder = write_bundle(tmp_path / "bundle")
    description = json.loads((folder / "bundle.json").read_text())
    for content in (key, passwd, b"guess"):
        entry = {"sha256": sha256_hex(content), "size_bytes": len(content)}
        description["files"] = {name: entry, "model.onnx": record(folder / "model.onnx")}
        (folder / "bundle.json").write_text(json.dumps(description))
        response = post_bundle(sqlite_client, folder)
        assert response.status_code == 422
        for secret in (key, passwd):
            assert sha256_hex(secret) not in response.text
            assert sqlite_client.get(f"/api/v1/artifacts/{sha256_hex(secret)}").status_code == 404


@pytest.mark.parametrize("name", HOSTILE)
def test_an_address_with_a_hostile_name_reads_nothing(sqlite_client: TestClient, name: str) -> None:
    part = quote(name, safe="")
    for path in (
        f"models/{part}",
        f"models/{part}/versions/1",
        f"models/colours/versions/{part}/bom",
        f"artifacts/{part}",
    ):
        response = sqlite_client.get(f"/api/v1/{path}")
        assert response.status_code in {404, 405, 422} or path == "models/" or response.json() == [], (
            path,
            response.text,
        )
        assert "root:" not in response.text


@pytest.mark.parametrize(
    "name", ["../evil.onnx", "/srv/evil.onnx", "a/b.onnx", "%2e%2e%2fevil.onnx", "evil.onnx\x00.json"]
)
def test_an_upload_of_a_hostile_file_name_writes_nothing(
    sqlite_client: TestClient, sqlite_hub: HubContext, name: str
) -> None:
    files = [("files", (name, b"x"))]
    response = sqlite_client.post("/api/v1/models/colours/versions", data={"bundle": "{}"}, files=files)
    assert response.status_code == 422
    assert not list(sqlite_hub.settings.data.rglob("*evil*"))
