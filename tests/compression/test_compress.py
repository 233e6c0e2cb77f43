"""Compression of a real bundle: what the variants are, and what the report says of them."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from shoal_compression.budget import Budget
from shoal_compression.bundle import BUNDLE_FILE, CALIBRATION_FILE, KERAS_FILE, ONNX_FILE, TEST_FILE
from shoal_compression.comparing import accuracy
from shoal_compression.compress import GOLDEN_FILE, REPORT_FILE, TECHNIQUES, compress
from shoal_compression.errors import SourceError, TechniqueError
from shoal_compression.model import Model
from shoal_compression.original import read_original
from shoal_compression.report import CompressionReport, VariantReport
from shoal_compression.running import load, scores_of
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_numerics.golden_tensors import golden_array, golden_part

POINT = 0.01
NEEDED_FILES = (KERAS_FILE, ONNX_FILE, CALIBRATION_FILE, TEST_FILE)
Made = tuple[Path, CompressionReport]


@pytest.fixture(scope="session")
def made(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("variants")
    return out, compress(bundle_dir, list(TECHNIQUES), out)


@pytest.fixture
def copy(bundle_dir: Path, tmp_path: Path) -> Path:
    for name in (*NEEDED_FILES, BUNDLE_FILE):
        (tmp_path / name).write_bytes((bundle_dir / name).read_bytes())
    return tmp_path


def _model(made: Made, variant: VariantReport, bundle_dir: Path) -> Model:
    reference = read_original(bundle_dir).reference
    return reference.with_content((made[0] / variant.file).read_bytes(), form=variant.format)


def test_each_technique_makes_the_variant_of_its_target(made: Made) -> None:
    found = [(v.technique, v.target, v.runtime, v.format, v.precision) for v in made[1].variants]
    assert found == [
        ("int8-litert", "generic-litert-int8", "litert", "tflite", "int8"),
        ("int8-qdq-onnx", "generic-onnx-int8", "onnxruntime", "onnx", "int8"),
    ]


def test_hash_and_size_are_those_of_the_file(made: Made) -> None:
    out, report = made
    for variant in report.variants:
        data = (out / variant.file).read_bytes()
        assert (variant.sha256, variant.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_variants_are_less_than_half_of_the_original(made: Made) -> None:
    for variant in made[1].variants:
        assert variant.size_bytes < made[1].original.size_bytes / 2


def test_variants_stay_within_a_point_of_the_original(made: Made) -> None:
    for variant in made[1].variants:
        assert variant.accuracy == pytest.approx(made[1].original.accuracy, abs=POINT)


def test_a_fresh_runtime_gives_the_golden_outputs_for_the_golden_input(made: Made, bundle_dir: Path) -> None:
    out, report = made
    golden = np.load(out / GOLDEN_FILE)["image"]
    np.testing.assert_array_equal(golden_array(report.golden_inputs["image"]), golden)
    assert golden.shape == (4, 8, 8, 1)
    for variant in report.variants:
        answer = load(_model(made, variant, bundle_dir))({"image": golden})["probabilities"]
        expected, found = golden_part(answer, variant.golden_outputs["probabilities"])
        assert expected.shape == answer.shape
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_another_models_answer_is_outside_of_the_golden_tolerance(made: Made) -> None:
    for variant in made[1].variants:
        expected, _ = golden_part(np.zeros(0), variant.golden_outputs["probabilities"])
        assert np.abs(expected - 0.1).max() > 10 * variant.golden_tolerance


def test_each_variant_takes_one_and_many_float32_images(made: Made, bundle_dir: Path) -> None:
    x = read_original(bundle_dir).data.test.inputs["image"]
    for variant in made[1].variants:
        run = load(_model(made, variant, bundle_dir))
        many = run({"image": x[:9]})["probabilities"]
        assert (many.shape, many.dtype) == ((9, 10), np.float32)
        np.testing.assert_allclose(run({"image": x[8:9]})["probabilities"][0], many[8], atol=1e-6)


def test_weights_of_the_onnx_variant_are_eight_bits_per_channel(made: Made) -> None:
    graph = onnx.load(made[0] / made[1].variants[1].file).graph
    kernels = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert [kernel.data_type for kernel in kernels] == [TensorProto.UINT8, TensorProto.UINT8]
    scales = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.name.endswith("_scale")}
    assert {(16,), (32,)} <= set(scales.values())


def test_each_variant_s_memory_is_measured(made: Made) -> None:
    for variant in made[1].variants:
        assert variant.memory_bytes is not None
        assert variant.size_bytes / 2 < variant.memory_bytes < 100_000_000


def test_the_report_comes_back_from_its_file(made: Made) -> None:
    out, report = made
    assert CompressionReport.model_validate_json((out / REPORT_FILE).read_bytes()) == report


def test_the_same_bundle_gives_the_same_onnx_variant(made: Made, bundle_dir: Path, tmp_path: Path) -> None:
    again = compress(bundle_dir, ["int8-qdq-onnx"], tmp_path)
    assert again.variants[0].sha256 == made[1].variants[1].sha256


def test_entropy_calibration_stays_within_two_points(bundle_dir: Path, made: Made) -> None:
    original = read_original(bundle_dir)
    test = original.data.test
    assert test.labels is not None
    int8 = Int8Static(calibration="entropy").apply(original.reference, original.data, Budget())
    assert accuracy(scores_of(int8, test), test.labels) == pytest.approx(made[1].original.accuracy, abs=2 * POINT)


def test_an_unknown_technique_is_refused_before_anything_is_written(bundle_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="'int3' is not known; known are int8-litert, int8-qdq-onnx"):
        compress(bundle_dir, ["int8-litert", "int3"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NEEDED_FILES)
def test_an_altered_file_is_refused(copy: Path, tmp_path: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(SourceError, match="it was altered after training"):
        compress(copy, ["int8-litert"], tmp_path / "out")


def test_a_missing_file_is_refused(copy: Path) -> None:
    (copy / ONNX_FILE).unlink()
    with pytest.raises(SourceError, match=r"model\.onnx is missing"):
        read_original(copy)


@pytest.mark.parametrize("text", ["", "{}", '{"name": "digits", "seed": 0, "inputs": [], "outputs": [], "files": {}}'])
def test_a_malformed_description_is_refused(copy: Path, text: str) -> None:
    (copy / BUNDLE_FILE).write_text(text)
    with pytest.raises(SourceError, match=r"bundle\.json: .*; write the bundle again"):
        read_original(copy)


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="name the folder that training wrote"):
        read_original(tmp_path)


def test_the_opset_of_an_old_original_is_raised_before_it_is_quantized(bundle_dir: Path) -> None:
    original = read_original(bundle_dir)
    graph = onnx.load_from_string(original.reference.content)
    for entry in graph.opset_import:
        entry.version = 12 if entry.domain == "" else entry.version
    old = original.reference.with_content(graph.SerializeToString())
    made = onnx.load_from_string(Int8Static().apply(old, original.data, Budget()).content)
    onnx.checker.check_model(made)
    assert {entry.version for entry in made.opset_import if entry.domain == ""} == {13}
