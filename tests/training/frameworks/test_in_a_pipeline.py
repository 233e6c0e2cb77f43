"""Networks in a pipeline file: from rows to a bundle that compression takes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.training.frameworks.trainers import blobs

from shoal_compression.budget import Budget
from shoal_compression.original import read_original
from shoal_compression.techniques.convert.to_litert import ToLitert
from shoal_training.bundle import read_bundle
from shoal_training.errors import PipelineError
from shoal_training.pipeline.reading import parse_pipeline, read_pipeline
from shoal_training.pipeline.record import RunRecord
from shoal_training.pipeline.running import run_pipeline

IMAGES = """
name: shapes
seed: 4
data_ingestion:
  sources: [{kind: files, path: images.parquet}]
model_training:
  target: label
  inputs: [image]
  trainer:
    framework: keras
    network: {kind: cnn, channels: [4], hidden: [8]}
    epochs: 6
    batch: 16
    optimizer: {name: adam, learning_rate: 0.01}
model_evaluation:
  limits: {accuracy: 0.8}
"""
ROWS = """
name: clouds
data_ingestion:
  sources: [{kind: files, path: rows.parquet}]
model_training:
  target: label
  trainer:
    framework: torch
    network: net.py:build
    epochs: 2
    device: cpu
"""
NET = "import torch\ndef build(shape, outputs, **_):\n    return torch.nn.Linear(shape[0], outputs)\n"


def write_images(path: Path) -> None:
    """Bright squares at the left, or at the right."""
    random = np.random.default_rng(0)
    label = np.arange(160) % 2
    image = random.normal(size=(160, 6, 6), scale=0.3).astype(np.float32)
    image[label == 0, :, :3] += 1
    image[label == 1, :, 3:] += 1
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(image)
    pq.write_table(pa.table({"image": column, "label": pa.array(label)}), path)


def run(folder: Path, text: str, out: str) -> RunRecord:
    (folder / "pipeline.yaml").write_text(text)
    return run_pipeline(read_pipeline(folder / "pipeline.yaml"), folder / "store", folder / out)


@pytest.mark.slow
def test_a_keras_pipeline_gives_a_bundle_that_is_compressed_to_litert(tmp_path: Path) -> None:
    write_images(tmp_path / "images.parquet")
    record = run(tmp_path, IMAGES, "out")
    bundle = read_bundle(tmp_path / "out")
    assert {"model.keras", "model.onnx"} <= set(bundle.files)
    assert {"train_loss", "held_out_accuracy"} <= set(record.history)
    original = read_original(tmp_path / "out")
    made = ToLitert().apply(original.models["keras"], original.data, Budget(seconds=60))
    assert (made.form, [spec.name for spec in made.inputs]) == ("tflite", ["image"])


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_again_only_when_its_file_has_changed(tmp_path: Path) -> None:
    samples = blobs(90)
    columns = {f"c{at}": samples.x[:, at] for at in range(4)}
    pq.write_table(pa.table({**columns, "label": samples.y}), tmp_path / "rows.parquet")
    (tmp_path / "net.py").write_text(NET)
    first, again = run(tmp_path, ROWS, "first"), run(tmp_path, ROWS, "again")
    assert [one.is_cached for one in first.steps if one.name == "train"] == [False]
    assert [one.is_cached for one in again.steps if one.name == "train"] == [True]
    (tmp_path / "net.py").write_text(NET.replace("outputs)\n", "outputs, bias=False)\n"))
    changed = run(tmp_path, ROWS, "changed")
    assert [one.is_cached for one in changed.steps if one.name in {"prepare", "train"}] == [True, False]
    assert "model.keras" not in read_bundle(tmp_path / "changed").files


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        ("{launcher: torchrun}", "torchrun trains networks of PyTorch, not keras"),
        ("slurm", "no launcher is called 'slurm'; known are local, torchrun"),
        ("{launcher: torchrun, processes: 0}", "compute.processes: '0' found, expected at least 1"),
    ],
)
def test_a_place_to_compute_that_does_not_fit_is_an_error_with_its_line(compute: str, reason: str) -> None:
    text = IMAGES.replace("  inputs: [image]\n", f"  inputs: [image]\n  compute: {compute}\n")
    with pytest.raises(PipelineError, match=rf"line \d+: .*{reason}"):
        parse_pipeline(text)


@pytest.mark.slow
def test_a_pipeline_trains_in_two_processes(tmp_path: Path) -> None:
    samples = blobs(90)
    columns = {f"c{at}": samples.x[:, at] for at in range(4)}
    pq.write_table(pa.table({**columns, "label": samples.y}), tmp_path / "rows.parquet")
    (tmp_path / "net.py").write_text(NET)
    text = ROWS.replace("  target: label\n", "  target: label\n  compute: {launcher: torchrun, processes: 2}\n")
    record = run(tmp_path, text, "out")
    assert record.state == "finished"
    assert len(record.history["train_loss"]) == 2
