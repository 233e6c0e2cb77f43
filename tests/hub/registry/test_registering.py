"""Registering versions: what a good bundle becomes, and why a bad one is refused."""

import json
import os
import pickle
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.registry.bundles import post_bundle, record, write_bundle
from tests.hub.registry.test_versions import add_variant

from shoal_contract.ids import sha256_hex
from shoal_contract.manifest import Baseline
from shoal_contract.processing import Processing
from shoal_hub.context import HubContext
from shoal_hub.errors import InvalidInputError
from shoal_hub.registry.bundle_files import restore_bundle
from shoal_hub.registry.inspection import Inspection, inspect, inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.publish import build_manifest
from shoal_hub.registry.tables import Version
from shoal_hub.registry.versions import find_variants, find_version
from shoal_numerics import STATISTICS


@pytest.fixture
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspect bundles in the test's own process: a child takes a second."""
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


def stored(hub: HubContext) -> Version:
    with hub.database.session() as session:
        return session.exec(select(Version)).one()


def test_a_bundle_becomes_version_one_with_all_that_it_says(client: TestClient, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    request = {"description": "colours of fish", "aliases": ["champion"], "recipe": {"note": "first"}}
    response = post_bundle(client, folder, request=json.dumps(request))
    assert response.status_code == 201, response.text
    shown = response.json()
    assert (shown["number"], shown["stage"], shown["aliases"]) == (1, "none", ["champion"])
    assert (shown["algorithm"], shown["author"], shown["metrics"]) == ("linear classifier", "ada", {"accuracy": 1.0})
    assert shown["provenance"]["recipe"]["note"] == "first"
    assert shown["files"]["model.onnx"] == sha256_hex((folder / "model.onnx").read_bytes())
    assert shown["created_by"] == "ada"
    assert client.get("/api/v1/models").json()[0]["description"] == "colours of fish"
    assert [event["kind"] for event in client.get("/api/v1/events").json()] == ["version_registered"]


PROCESSING = {
    "inputs": {"features": {"kind": "tabular", "features": [{"kind": "number", "name": name} for name in "abcd"]}},
    "outputs": {"probabilities": {"kind": "classes", "top": 2}},
}


def test_what_a_bundle_declares_of_inputs_and_outputs_stands_in_the_manifest(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    response = post_bundle(client, write_bundle(tmp_path / "bundle", processing=PROCESSING))
    assert response.status_code == 201, response.text
    add_variant(hub, 1)
    with hub.database.session() as session:
        version = find_version(session, "colours", "1")
        manifest = build_manifest(version, find_variants(session, version))
    assert manifest.processing == Processing.model_validate(PROCESSING)


def test_a_declaration_that_does_not_fit_the_model_is_refused(client: TestClient, tmp_path: Path) -> None:
    narrow = {"features": {"kind": "tabular", "features": [{"kind": "number", "name": "a"}]}}
    folder = write_bundle(tmp_path / "bundle", processing={"inputs": narrow})
    response = post_bundle(client, folder)
    assert response.status_code == 422, response.text
    assert "input 'features': its shape is [-1, 4], [-1, 1] is made" in response.text


def test_two_that_register_a_new_model_at_once_get_a_version_each(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [write_bundle(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    both_are_here = threading.Barrier(2, timeout=60)

    def inspect_together(folder: Path, limits: BundleLimits) -> Inspection:
        found = inspect(folder, limits)
        both_are_here.wait()
        return found

    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect_together)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda folder: post_bundle(client, folder), folders))
    assert [answer.status_code for answer in answers] == [201, 201], [answer.text for answer in answers]
    assert sorted(answer.json()["number"] for answer in answers) == [1, 2]


def test_the_process_that_looks_into_a_bundle_knows_nothing_of_the_hubs_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setenv("SHOAL_DATABASE_URL", "postgresql://shoal:hidden@db/shoal")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer hidden")
    monkeypatch.setenv("PGPASSWORD", "hidden")
    with pytest.raises(InvalidInputError):
        inspect_in_child(tmp_path, BundleLimits())
    seen = (tmp_path / "environment").read_text()
    assert "PYTHONPATH=" in seen
    assert "SHOAL_" not in seen
    assert "hidden" not in seen


@pytest.mark.usefixtures("_in_process")
def test_the_baseline_counts_the_training_data_and_the_models_answers(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    post_bundle(sqlite_client, write_bundle(tmp_path / "bundle"))
    baseline = Baseline.model_validate(stored(sqlite_hub).baseline)
    assert baseline.samples == 150
    assert [feature.name for feature in baseline.features] == [f"features[{index}]" for index in range(4)]
    assert all(sum(feature.counts) == 150 for feature in baseline.features)
    assert max(baseline.features[0].counts) <= 2 * 150 / 30, "bins hold about the same mass"
    assert sum(baseline.predictions) == sum(baseline.confidence.counts) == 150
    assert min(baseline.predictions) > 20


@pytest.mark.usefixtures("_in_process")
def test_of_samples_with_too_many_values_the_baseline_counts_statistics(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.registry.baseline.MAX_FEATURES", 3)
    post_bundle(sqlite_client, write_bundle(tmp_path / "bundle"))
    baseline = Baseline.model_validate(stored(sqlite_hub).baseline)
    assert baseline.features_of == "statistics"
    assert [feature.name for feature in baseline.features] == [f"features.{one}" for one in STATISTICS]
    assert all(sum(feature.counts) == 150 for feature in baseline.features)


@pytest.mark.usefixtures("_in_process")
def test_a_bundle_comes_back_out_of_the_store_as_it_went_in(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    post_bundle(sqlite_client, folder)
    restore_bundle(sqlite_hub.artifacts, stored(sqlite_hub), tmp_path / "again")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()
    }


@pytest.mark.usefixtures("_in_process")
def test_the_next_version_has_the_next_number_and_may_name_its_parent(client: TestClient, tmp_path: Path) -> None:
    post_bundle(client, write_bundle(tmp_path / "1"))
    request = json.dumps({"parent_version": 1, "federated_run": "fr-1"})
    shown = post_bundle(client, write_bundle(tmp_path / "2", seed=1), request=request).json()
    assert shown["number"] == 2
    assert (shown["provenance"]["parent_version"], shown["provenance"]["federated_run"]) == (1, "fr-1")


def pickle_as_onnx(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(pickle.dumps({"weights": [1.0]}))
    _describe(folder)


def objects_in_npz(folder: Path) -> None:
    np.savez(folder / "calibration.npz", x=np.array([{"code": 1}], dtype=object))
    _describe(folder)


def wrong_features(folder: Path) -> None:
    np.savez(folder / "calibration.npz", x=np.zeros((10, 5), dtype=np.float32))
    _describe(folder)


def no_rows(folder: Path) -> None:
    np.savez(folder / "test.npz", x=np.zeros((0, 4), dtype=np.float32))
    _describe(folder)


def text_data(folder: Path) -> None:
    np.savez(folder / "calibration.npz", x=np.array([["a", "b", "c", "d"]]))
    _describe(folder)


def broken_zip(folder: Path) -> None:
    (folder / "calibration.npz").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    _describe(folder)


def bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "calibration.npz", "w") as archive:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }".ljust(
            128
        )
        archive.writestr("x.npy", header)
    _describe(folder)


def broken_onnx(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x08not a model")
    _describe(folder)


def altered_file(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "model.onnx").write_bytes(data)


def missing_file(folder: Path) -> None:
    (folder / "test.npz").unlink()


def no_description(folder: Path) -> None:
    (folder / "bundle.json").unlink()


def not_json(folder: Path) -> None:
    (folder / "bundle.json").write_text("{")


def not_finite(folder: Path) -> None:
    _describe(folder, metrics={"accuracy": float("nan")})


def nul_in_text(folder: Path) -> None:
    _describe(folder, author="a\x00b")


def other_model(folder: Path) -> None:
    _describe(folder, name="fish")


def other_output(folder: Path) -> None:
    _describe(folder, outputs=[{"name": "nothing", "datatype": "FP32", "shape": [-1, 3]}])


def _describe(folder: Path, **changes: Any) -> None:
    description = json.loads((folder / "bundle.json").read_text())
    description["files"] = {path.name: record(path) for path in folder.iterdir() if path.name != "bundle.json"}
    (folder / "bundle.json").write_text(json.dumps(description | changes))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (pickle_as_onnx, "it is a pickle"),
        (objects_in_npz, "allow_pickle"),
        (wrong_features, r"float32(10, 5), expected FP32(-1, 4)"),
        (no_rows, "expected FP32"),
        (text_data, "calibration.npz"),
        (broken_zip, "calibration.npz"),
        (broken_onnx, "model.onnx"),
        (altered_file, "model.onnx has SHA-256"),
        (missing_file, "test.npz is missing"),
        (no_description, "bundle.json"),
        (not_json, "bundle.json"),
        (not_finite, "not finite"),
        (nul_in_text, "NUL"),
        (other_model, "of the model fish"),
        (other_output, "model.onnx"),
    ],
)
@pytest.mark.usefixtures("_in_process")
def test_a_bad_bundle_is_refused_with_the_reason_and_leaves_nothing(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, spoil: Callable[[Path], None], found: str
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    spoil(folder)
    response = post_bundle(sqlite_client, folder)
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert found in error["message"]
    assert error["remedy"]
    assert str(sqlite_hub.settings.data) not in error["message"], "a caller is not told where the hub keeps things"
    assert sqlite_client.get("/api/v1/models").json() == []
    assert list((sqlite_hub.settings.data / "uploads").iterdir()) == []


@pytest.mark.usefixtures("_in_process")
def test_text_that_speaks_of_a_nul_is_no_nul(sqlite_client: TestClient, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", description="says \\u0000")
    assert rb"\\u0000" in (folder / "bundle.json").read_bytes()
    response = post_bundle(sqlite_client, folder)
    assert response.status_code == 201, response.text


def test_a_model_that_crashes_its_runtime_does_not_take_the_hub_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (tmp_path / "onnxruntime.py").write_text("import os\nos.abort()\n")  # stands for a parser that a file crashes
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    with pytest.raises(InvalidInputError, match="its runtime crashed"):
        inspect_in_child(folder, BundleLimits())


@pytest.mark.parametrize(("spoil", "found"), [(broken_onnx, "model.onnx"), (bomb, "calibration.npz")])
def test_what_the_child_refuses_is_told_in_its_words(tmp_path: Path, spoil: Callable[[Path], None], found: str) -> None:
    folder = write_bundle(tmp_path / "bundle")
    spoil(folder)
    with pytest.raises(InvalidInputError, match=found):
        inspect_in_child(folder, BundleLimits())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model.pkl", "pickled code"),
        ("model.pt", "pickled code"),
        ("model.joblib", "pickled code"),
        ("run.py", "not a file that a bundle has"),
        ("../model.onnx", "not a file that a bundle has"),
        ("/etc/model.onnx", "not a file that a bundle has"),
        ("a/b.onnx", "not a file that a bundle has"),
        ("model.onnx\x00.json", "not a file that a bundle has"),
        (".onnx", "not a file that a bundle has"),
    ],
)
def test_a_file_that_is_no_data_or_leads_elsewhere_is_refused(sqlite_client: TestClient, name: str, found: str) -> None:
    files = [("files", (name, b"content"))]
    response = sqlite_client.post("/api/v1/models/colours/versions", data={"bundle": "{}"}, files=files)
    assert response.status_code == 422
    assert found in response.json()["error"]["message"]


def test_a_file_sent_twice_is_refused(sqlite_client: TestClient) -> None:
    files = [("files", ("bundle.json", b"{}"))] * 2
    response = sqlite_client.post("/api/v1/models/colours/versions", data={"bundle": "{}"}, files=files)
    assert "sent twice" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "{",
        "[]",
        '{"parent_version": 0}',
        '{"parent_version": 7}',
        '{"aliases": ["UPPER"]}',
        '{"recipe": {"a": "\\u0000"}}',
    ],
)
def test_a_malformed_request_beside_the_files_is_invalid_input(
    sqlite_client: TestClient, tmp_path: Path, request_text: str
) -> None:
    response = post_bundle(sqlite_client, write_bundle(tmp_path / "bundle"), request=request_text)
    assert response.status_code == 422, response.text
    assert sqlite_client.get("/api/v1/models").json() == []


@pytest.mark.parametrize("alias", ["latest", "production", "7"])
@pytest.mark.usefixtures("_in_process")
def test_an_alias_that_reads_like_something_else_is_refused_with_the_whole_version(
    sqlite_client: TestClient, tmp_path: Path, alias: str
) -> None:
    request = json.dumps({"aliases": [alias]})
    response = post_bundle(sqlite_client, write_bundle(tmp_path / "bundle"), request=request)
    assert response.status_code == 409
    assert sqlite_client.get("/api/v1/models").json() == []


@pytest.mark.parametrize("name", ["bundle.json", "model-card.json"])
def test_a_description_that_is_larger_than_a_request_may_be_is_not_read(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, name: str
) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / name).write_bytes(b" " * (sqlite_hub.settings.max_body_bytes + 1))
    response = post_bundle(sqlite_client, folder)
    assert response.status_code == 413
    assert name in response.json()["error"]["message"]
    assert "SHOAL_MAX_BODY_BYTES" in response.json()["error"]["remedy"]


@pytest.mark.usefixtures("_in_process")
def test_what_a_killed_hub_left_of_an_upload_goes_with_a_later_one(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    old, young, other = (sqlite_hub.settings.data / "uploads" / name for name in ("bundle-a", "bundle-b", "d-device"))
    for folder in (old, young, other):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x")
    for folder in (old, other):
        os.utime(folder, (0, 0))
    assert post_bundle(sqlite_client, write_bundle(tmp_path / "bundle")).status_code == 201
    assert sorted((sqlite_hub.settings.data / "uploads").iterdir()) == [young, other]


def test_an_upload_over_the_limit_is_refused(sqlite_client: TestClient, sqlite_hub: HubContext) -> None:
    length = str(sqlite_hub.settings.max_upload_bytes + 1)
    response = sqlite_client.post("/api/v1/models/colours/versions", headers={"content-length": length}, content=b"")
    assert response.status_code == 413
