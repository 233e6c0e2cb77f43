"""A model that takes texts and times beside numbers, from rows over registration to what a device answers."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from tests.hub.registry.bundles import post_bundle
from tests.hub.registry.test_brought_models import manifest_of

from shoal_agent.engines import load_engine, run_golden
from shoal_agent.processing import Pipeline
from shoal_compression.errors import SourceError
from shoal_compression.original import read_original
from shoal_hub.context import HubContext
from shoal_hub.registry.inspection import inspect, inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_training.bundle import read_bundle
from shoal_training.onnx_samples import OnnxModel
from shoal_training.pipeline.reading import read_pipeline
from shoal_training.pipeline.running import run_pipeline

ROWS = 300
PIPELINE = """
name: machines
data_ingestion:
  sources:
    - {kind: files, path: rows.parquet}
data_preprocessing:
  transformation:
    - {step: impute, columns: [heat]}
    - {step: standardize}
    - {step: one_hot, columns: [colour], max_categories: 3}
    - {step: ordinal, columns: [size], order: [small, large]}
    - {step: date_parts, parts: [weekday, hour]}
model_training:
  target: state
  inputs: [heat, colour, size, seen_at]
  trainer: {framework: sklearn, algorithm: logistic_regression}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on rows of which one colour and heat together say the answer."""
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    colour = random.choice(["red", "grün", "", "blau"], ROWS)
    heat = random.normal(20, 5, ROWS)
    rows = {
        "heat": pa.array([None if at % 40 == 0 else float(one) for at, one in enumerate(heat)]),
        "colour": pa.array(colour),
        "size": pa.array(random.choice(["small", "large"], ROWS)),
        "seen_at": pa.array(np.arange(ROWS) * 3_600_000_000 + 1_700_000_000_000_000, pa.timestamp("us", "UTC")),
        "state": pa.array(np.where((colour == "red") & (heat > 18), "bad", "good")),
    }
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    (folder / "pipeline.yaml").write_text(PIPELINE)
    run_pipeline(read_pipeline(folder / "pipeline.yaml"), folder / "store", folder / "bundle")
    return folder / "bundle"


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


def test_texts_are_inputs_of_their_own_and_numbers_are_watched(bundle: Path) -> None:
    described = read_bundle(bundle)
    assert [(one.name, one.datatype, one.shape) for one in described.inputs] == [
        ("heat", "FP32", (-1, 1)),
        ("colour", "BYTES", (-1, 1)),
        ("size", "BYTES", (-1, 1)),
        ("seen_at", "FP64", (-1, 1)),
    ]
    assert described.watched == ("heat", "seen_at")
    with np.load(bundle / "calibration.npz", allow_pickle=False) as kept:
        assert kept["colour"].dtype.kind == "U"


def test_the_registry_looks_into_it_in_a_child_and_counts_its_numbers(bundle: Path) -> None:
    baseline = inspect_in_child(bundle, BundleLimits()).baseline
    assert baseline.inputs == ("heat", "seen_at")
    assert [one.name for one in baseline.features] == ["heat[0]", "seen_at[0]"]
    assert len(baseline.predictions) == 2
    assert baseline.disagreement == ""


def test_a_device_answers_named_columns_as_training_did(
    bundle: Path, sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path
) -> None:
    answer = post_bundle(sqlite_client, bundle, "machines")
    assert answer.status_code == 201, answer.text
    manifest = manifest_of(sqlite_hub, "machines", bundle, tmp_path)
    [variant] = manifest.variants
    path = next((tmp_path / "variants").glob("*.onnx"))
    with closing(load_engine(path, variant, manifest.inputs, manifest.outputs)) as engine:
        assert run_golden(engine, manifest, variant) <= variant.golden_tolerance
        columns = {
            "heat": np.array([np.nan, 30.0]),
            "colour": np.array(["grün", "red"], dtype=np.object_),
            "size": np.array(["large", "unknown"], dtype=np.object_),
            "seen_at": np.array([1.7e9, 1.8e9]),
        }
        prepared = Pipeline(manifest).prepare(columns, 2)
        found = engine.infer(prepared.inputs)["scores"]
    arrays = {name: column.reshape(-1, 1) for name, column in columns.items()}
    arrays["heat"] = arrays["heat"].astype(np.float32)
    [expected] = [run["scores"] for run in OnnxModel(bundle / "model.onnx").runs(arrays)]
    assert prepared.refused == {}
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.argmax(axis=1).tolist() == [1, 0]


def test_recipes_refuse_it_and_say_what_to_do(bundle: Path) -> None:
    with pytest.raises(SourceError, match="its input colour takes texts, .* by the technique unmodified"):
        read_original(bundle)
