"""Models that were trained elsewhere, from registration to the manifest that devices get."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.fixtures import tiny
from tests.hub.registry.bundles import post_bundle, write_bundle

from shoal_compression.compress import UNMODIFIED, compress
from shoal_contract.limits import MAX_MANIFEST_BYTES
from shoal_contract.manifest import Baseline, VersionManifest
from shoal_contract.wire import parse_message
from shoal_hub.context import HubContext
from shoal_hub.registry.compress import add_variants
from shoal_hub.registry.inspection import inspect
from shoal_hub.registry.publish import build_manifest
from shoal_hub.registry.versions import find_variants, find_version
from shoal_numerics import STATISTICS
from shoal_training.onnx_bundle import About, bundle_from_onnx

SOUND = np.random.default_rng(1).normal(size=(30, 1, 16)).astype(np.float32)
STREAM = {"sound": SOUND, "state": np.zeros((2, 1, 3), dtype=np.float32), "rate": np.array(5)}


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look into bundles here: a child process each would take seconds."""
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


def stream_bundle(folder: Path) -> Path:
    bundle_from_onnx(tiny.FILES / "stream.onnx", STREAM, folder, About("stream", "ada", watched=("sound",)))
    return folder


def manifest_of(hub: HubContext, model: str, folder: Path, tmp_path: Path) -> VersionManifest:
    """Compress a version from its bundle, and return its manifest as a device reads it."""
    report = compress(folder, [UNMODIFIED], tmp_path / "variants")
    with hub.database.transaction() as session:
        version = find_version(session, model, "1")
        assert version.id is not None
        add_variants(session, hub.artifacts, version.id, tmp_path / "variants", report, by="ada")
    with hub.database.session() as session:
        version = find_version(session, model, "1")
        data = build_manifest(version, find_variants(session, version)).to_bytes()
    return parse_message(VersionManifest, data, MAX_MANIFEST_BYTES)


def test_a_model_with_a_state_and_a_scalar_is_registered_and_its_manifest_says_how_it_is_asked(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    folder = stream_bundle(tmp_path / "bundle")
    answer = post_bundle(sqlite_client, folder, "stream")
    assert answer.status_code == 201, answer.text
    manifest = manifest_of(sqlite_hub, "stream", folder, tmp_path)
    assert (manifest.is_batched, manifest.inputs) == (False, tiny.STREAM_INPUTS)
    assert set(manifest.golden_inputs) == {"sound", "state", "rate"}
    assert manifest.baseline.inputs == ("sound",)
    assert [one.name for one in manifest.baseline.features] == [f"sound.{one}" for one in STATISTICS]
    assert all(sum(one.counts) == len(SOUND) for one in manifest.baseline.features)
    assert manifest.baseline.predictions == ()


def test_an_axis_that_is_none_of_samples_cannot_be_called_one(sqlite_client: TestClient, tmp_path: Path) -> None:
    folder = stream_bundle(tmp_path / "bundle")
    description = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(description | {"batching": None}))
    answer = post_bundle(sqlite_client, folder, "stream")
    assert answer.status_code == 422
    assert "reading calibration.npz: sound is float32(30, 1, 16), expected FP32(-1, -1)" in answer.text


def test_of_more_labels_than_are_watched_the_inputs_alone_are_watched(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_hub.registry.inspection.MAX_WATCHED_LABELS", 2)
    assert post_bundle(sqlite_client, write_bundle(tmp_path / "bundle")).status_code == 201
    with sqlite_hub.database.session() as session:
        version = find_version(session, "colours", "1")
    baseline = Baseline.model_validate(version.baseline)
    assert (baseline.predictions, sum(baseline.confidence.counts), len(version.labels)) == ((), 0, 3)
    assert len(baseline.features) == 4


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"labels": ["x"] * 40_000}, "labels"),
        ({"watched": ["loudness"]}, "watched: no input loudness"),
        ({"batching": "sometimes"}, "batching"),
    ],
)
def test_what_a_bundle_cannot_say_is_refused(
    change: dict[str, Any], found: str, sqlite_client: TestClient, tmp_path: Path
) -> None:
    answer = post_bundle(sqlite_client, write_bundle(tmp_path / "bundle", **change))
    assert answer.status_code == 422
    assert found in answer.text


def test_without_a_choice_an_onnx_file_alone_is_kept_unmodified(sqlite_client: TestClient, tmp_path: Path) -> None:
    post_bundle(sqlite_client, stream_bundle(tmp_path / "bundle"), "stream")
    job = sqlite_client.post("/api/v1/models/stream/versions/1/compress", json={}).json()
    assert job["params"]["techniques"] == [UNMODIFIED]
