"""Models as packages bring them, from registration to a device's engine, within one process.

The whole way, with broker, devices and the packages' own code: tests/flows/test_real_models.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fastapi.testclient import TestClient
from tests.environments import environment
from tests.hub.registry.bundles import post_bundle
from tests.hub.registry.test_brought_models import manifest_of

from shoal_agent.engines import load_engine, run_golden
from shoal_contract.manifest import GeneratedTensor, VersionManifest
from shoal_hub.context import HubContext
from shoal_hub.registry.inspection import inspect
from shoal_training.onnx_bundle import About, bundle_from_onnx

PACKAGES = ("--no-deps", "magika==1.0.3", "rapidocr==3.10.0", "silero-vad==6.2.3")
FILES = {
    "magika": "magika/models/standard_v3_3/model.onnx",
    "text-orientation": "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "text-detection": "rapidocr/models/PP-OCRv6_det_small.onnx",
    "text-recognition": "rapidocr/models/PP-OCRv6_rec_small.onnx",
    "voice-activity": "silero_vad/data/silero_vad.onnx",
}
RANDOM = np.random.default_rng(0)
SAMPLES: dict[str, dict[str, Any]] = {
    "magika": {"bytes": RANDOM.integers(0, 257, size=(6, 2048), dtype=np.int32)},
    "text-orientation": {"x": RANDOM.uniform(-1, 1, size=(6, 3, 48, 192)).astype(np.float32)},
    "text-detection": {"x": RANDOM.uniform(-1, 1, size=(2, 3, 160, 160)).astype(np.float32)},
    "text-recognition": {"x": RANDOM.uniform(-1, 1, size=(2, 3, 48, 96)).astype(np.float32)},
    "voice-activity": {
        "input": RANDOM.normal(size=(6, 1, 576)).astype(np.float32),
        "state": np.zeros((2, 1, 128), dtype=np.float32),
        "sr": np.array(16_000),
    },
}
WATCHED = {"voice-activity": ("input",)}
LABELS = {"text-recognition": tuple(f"character {place}" for place in range(18_710))}


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


@pytest.fixture(scope="module")
def packages() -> Path:
    [folder] = environment("model-files", *PACKAGES).parents[1].glob("lib/python*/site-packages")
    return folder


@pytest.mark.parametrize("model", FILES)
def test_a_models_file_is_registered_and_answers_on_a_device_as_it_does_by_itself(
    model: str, packages: Path, sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    path = packages / FILES[model]
    about = About(model, "ada", labels=LABELS.get(model, ()), watched=WATCHED.get(model, ()))
    bundle_from_onnx(path, SAMPLES[model], tmp_path / "bundle", about)
    answer = post_bundle(sqlite_client, tmp_path / "bundle", model)
    assert answer.status_code == 201, answer.text
    manifest = manifest_of(sqlite_hub, model, tmp_path / "bundle", tmp_path)
    [variant] = manifest.variants
    assert variant.size_bytes == path.stat().st_size
    assert manifest.is_batched == (model != "voice-activity")
    assert manifest.labels == about.labels
    assert is_golden_made(manifest) == (model == "text-detection")
    engine = load_engine(path, variant, manifest.inputs, manifest.outputs)
    assert run_golden(engine, manifest, variant) <= variant.golden_tolerance
    request = {
        name: array[:1] if model != "voice-activity" else array[0] if name == "input" else array
        for name, array in SAMPLES[model].items()
    }
    expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, request)
    for spec, array in zip(manifest.outputs, expected, strict=True):
        np.testing.assert_allclose(engine.infer(request)[spec.name], array, atol=1e-3)
    engine.close()


def is_golden_made(manifest: VersionManifest) -> bool:
    return any(isinstance(one, GeneratedTensor) for one in manifest.golden_inputs.values())
