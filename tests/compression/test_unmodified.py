"""A model that is kept as it is: its golden input and outputs, also of tensors that are too large to travel."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures import tiny

from shoal_compression.compress import TECHNIQUES, UNMODIFIED, compress, techniques_for
from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.original import read_original
from shoal_contract.manifest import GeneratedTensor, SampledTensor, TensorData
from shoal_numerics.golden_tensors import GOLDEN_BYTES, golden_array, golden_part
from shoal_numerics.tensors import from_tensor_data
from shoal_training.onnx_bundle import About, bundle_from_onnx

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
SOUND = np.random.default_rng(1).normal(size=(6, 1, 16)).astype(np.float32)
STREAM = {"sound": SOUND, "state": np.zeros((2, 1, 3), dtype=np.float32), "rate": np.array(5)}


def bundle(folder: Path, name: str = "classify", samples: dict[str, Any] | None = None) -> Path:
    about = About(name, "ada", labels=("a", "b", "c"))
    bundle_from_onnx(tiny.FILES / f"{name}.onnx", samples or {"x": X}, folder, about)
    return folder


def wide_model(path: Path) -> Path:
    """Turns the sign of each value of any image."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "wide", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def one_column(path: Path, operator: str) -> Path:
    """Write a model whose output is one column: the class itself, or the sigmoid of one score."""
    made = [helper.make_node("MatMul", ["x", "w"], ["scores"])]
    kind = TensorProto.INT64 if operator == "ArgMax" else TensorProto.FLOAT
    made.append(helper.make_node(operator, ["scores"], ["y"], **({"axis": 1} if operator == "ArgMax" else {})))
    weights = tiny.WEIGHTS if operator == "ArgMax" else tiny.WEIGHTS[:, :1]
    graph = helper.make_graph(
        made,
        "one-column",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", kind, ["n", 1])],
        [numpy_helper.from_array(np.ascontiguousarray(weights), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_file_is_a_variant_for_every_onnx_runtime_and_answers_its_golden_input(tmp_path: Path) -> None:
    report = compress(bundle(tmp_path / "in"), [UNMODIFIED], tmp_path / "out")
    [variant] = report.variants
    assert (variant.target, variant.runtime, variant.precision) == ("generic-onnx-float32", "onnxruntime", "unmodified")
    assert (tmp_path / "out" / variant.file).read_bytes() == (tiny.FILES / "classify.onnx").read_bytes()
    golden = golden_array(report.golden_inputs["x"])
    assert golden.shape == (4, 4)
    answer = variant.golden_outputs["probabilities"]
    assert isinstance(answer, TensorData)
    np.testing.assert_allclose(from_tensor_data(answer), tiny.probabilities(golden), atol=1e-6)
    assert (variant.accuracy, variant.golden_tolerance) == (None, 1e-3)
    assert 0 < variant.latency_ms.p50 <= variant.latency_ms.p95


def test_true_labels_give_its_accuracy(tmp_path: Path) -> None:
    y = tiny.probabilities(X).argmax(axis=1)
    y[:5] = (y[:5] + 1) % 3
    report = compress(bundle(tmp_path / "in", samples={"x": X, "y": y}), [UNMODIFIED], tmp_path / "out")
    assert report.original.accuracy == report.variants[0].accuracy == 0.75


@pytest.mark.parametrize("operator", ["ArgMax", "Sigmoid"])
def test_a_model_of_one_column_is_right_about_its_own_answers(tmp_path: Path, operator: str) -> None:
    scores = X @ (tiny.WEIGHTS if operator == "ArgMax" else tiny.WEIGHTS[:, :1])
    y = scores.argmax(axis=1) if operator == "ArgMax" else (scores[:, 0] > 0).astype(np.int64)
    path = one_column(tmp_path / "one.onnx", operator)
    brought = bundle_from_onnx(path, {"x": X, "y": y}, tmp_path / "in", About("one", "ada"))
    assert brought.metrics["accuracy"] == 1.0
    report = compress(tmp_path / "in", [UNMODIFIED], tmp_path / "out")
    assert report.original.accuracy == report.variants[0].accuracy == 1.0


def test_numbers_to_predict_are_no_classes_and_give_no_accuracy(tmp_path: Path) -> None:
    report = compress(bundle(tmp_path / "in", samples={"x": X, "y": X[:, 0]}), [UNMODIFIED], tmp_path / "out")
    assert report.original.accuracy is None


def test_of_a_model_without_batches_one_sample_is_golden(tmp_path: Path) -> None:
    report = compress(bundle(tmp_path / "in", "stream", STREAM), [UNMODIFIED], tmp_path / "out")
    found = {name: golden_array(one) for name, one in report.golden_inputs.items()}
    assert found["sound"].tolist() in SOUND.tolist()
    assert (found["rate"].shape, int(found["rate"]), found["state"].shape) == ((), 5, (2, 1, 3))
    heard, _ = tiny.stream(found["sound"], found["state"], 5)
    answer = report.variants[0].golden_outputs["heard"]
    assert isinstance(answer, TensorData)
    np.testing.assert_allclose(from_tensor_data(answer), heard, atol=1e-5)


def test_of_a_model_without_batches_outputs_may_be_as_long_as_a_sample_makes_them(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(*one) for one in (("x", 1, [-1]), ("y", 1, [-1]), ("places", 7, [1, -1]))]
    made = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("NonZero", ["y"], ["places"])]
    graph = helper.make_graph(made, "places", ends[:1], ends[1:])
    path = tmp_path / "places.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    bundle_from_onnx(path, {"x": X}, tmp_path / "in", About("places", "ada"))
    report = compress(tmp_path / "in", [UNMODIFIED], tmp_path / "out")
    assert golden_array(report.golden_inputs["x"]).shape == (4,), "one sample, although its first axis is open"
    assert not read_original(tmp_path / "in").reference.is_batched


def test_samples_that_are_too_large_to_travel_are_made_on_both_sides(tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 255, size=(2, 3, 300, 400)).astype(np.float32)
    bundle_from_onnx(wide_model(tmp_path / "wide.onnx"), {"x": images}, tmp_path / "in", About("wide", "ada"))
    report = compress(tmp_path / "in", [UNMODIFIED], tmp_path / "out")
    stated, answer = report.golden_inputs["x"], report.variants[0].golden_outputs["y"]
    assert isinstance(stated, GeneratedTensor)
    assert isinstance(answer, SampledTensor)
    assert stated.shape == answer.shape == (1, 3, 300, 400)
    assert (stated.low, stated.high) in [(float(one.min()), float(one.max())) for one in images]
    np.testing.assert_array_equal(*golden_part(-golden_array(stated), answer))
    assert len(report.model_dump_json()) < 2 * GOLDEN_BYTES


def test_it_suits_a_bundle_that_has_nothing_but_an_onnx_file() -> None:
    assert techniques_for(["model.onnx", "calibration.npz"]) == (UNMODIFIED,)
    assert techniques_for(["model.onnx", "model.keras"]) == tuple(TECHNIQUES)


def test_it_is_made_alone(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="unmodified together with int8-litert; ask for unmodified alone"):
        compress(bundle(tmp_path / "in"), [UNMODIFIED, "int8-litert"], tmp_path / "out")


def test_a_bundle_that_was_altered_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "in")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(SourceError, match="it was altered"):
        compress(folder, [UNMODIFIED], tmp_path / "out")
