"""The bundle of version 1, of a version from new weights, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.training.small_bundle import SEED, SETTINGS

from shoal_training import onnx_export
from shoal_training.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    FILES,
    KERAS_FILE,
    ONNX_FILE,
    TEST_FILE,
    WEIGHTS_FILE,
    data_fingerprint,
    new_folder,
    read_bundle,
    record_files,
)
from shoal_training.digits import digits_splits
from shoal_training.errors import BundleError, ExportError, WeightsError
from shoal_training.new_version import bundle_from_weights
from shoal_training.onnx_export import OPSET, export_onnx, run_onnx
from shoal_training.tensorflow_runtime import load_keras
from shoal_training.weights import read_weights


@pytest.fixture
def copy(bundle_dir: Path, tmp_path: Path) -> Path:
    for name in (*FILES, CARD_FILE, BUNDLE_FILE):
        (tmp_path / name).write_bytes((bundle_dir / name).read_bytes())
    return tmp_path


def test_a_bundle_says_what_it_holds(bundle_dir: Path) -> None:
    bundle = read_bundle(bundle_dir)
    centre = digits_splits(SEED, SETTINGS).centre
    assert sorted(bundle.files) == sorted([*FILES, CARD_FILE])
    assert bundle.data_sha256 == data_fingerprint((centre.x, centre.y))
    assert [(spec.name, spec.datatype, spec.shape) for spec in (*bundle.inputs, *bundle.outputs)] == [
        ("image", "FP32", (-1, 8, 8, 1)),
        ("probabilities", "FP32", (-1, 10)),
    ]


def test_a_few_epochs_read_nine_digits_in_ten(bundle_dir: Path) -> None:
    assert read_bundle(bundle_dir).metrics["accuracy"] > 0.9


def test_the_held_out_samples_are_those_of_the_test_split(bundle_dir: Path) -> None:
    with np.load(bundle_dir / TEST_FILE) as test:
        np.testing.assert_array_equal(test["x"], digits_splits(SEED, SETTINGS).test.x)


def test_the_onnx_form_answers_like_keras_under_the_bundles_names(bundle_dir: Path) -> None:
    model = load_keras().models.load_model(bundle_dir / KERAS_FILE, compile=False)
    x = digits_splits(SEED, SETTINGS).test.x
    np.testing.assert_allclose(run_onnx(bundle_dir / ONNX_FILE, x), np.asarray(model(x)), atol=1e-5)
    graph = onnx.load(bundle_dir / ONNX_FILE)
    assert [graph.graph.input[0].name, graph.graph.output[0].name] == ["image", "probabilities"]
    assert next(entry.version for entry in graph.opset_import if entry.domain == "") == OPSET


def test_an_onnx_form_that_answers_differently_is_refused(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_keras().models.load_model(bundle_dir / KERAS_FILE, compile=False)
    monkeypatch.setattr(onnx_export, "run_onnx", lambda _path, x: np.full((len(x), 10), 0.1, np.float32))
    with pytest.raises(ExportError, match="outputs differ from Keras by"):
        export_onnx(model, tmp_path / "model.onnx", digits_splits(0).test.x[:8])


@pytest.mark.parametrize("name", FILES)
def test_an_altered_file_is_found(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} has SHA-256"):
        read_bundle(copy)


def test_a_missing_file_is_found(copy: Path) -> None:
    (copy / ONNX_FILE).unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        read_bundle(copy)


def test_a_folder_without_a_description_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="train the model first"):
        read_bundle(tmp_path)


def test_a_malformed_description_is_refused(copy: Path) -> None:
    (copy / BUNDLE_FILE).write_text('{"name": "UPPER CASE"}')
    with pytest.raises(BundleError, match="form of a bundle"):
        read_bundle(copy)


def test_a_bundle_is_never_written_over(copy: Path) -> None:
    with pytest.raises(BundleError, match="is not empty"):
        new_folder(copy)


def test_a_file_that_was_not_written_is_named(copy: Path) -> None:
    (copy / WEIGHTS_FILE).unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors was not written"):
        record_files(copy)


def test_fingerprints_tell_shapes_and_datatypes_apart() -> None:
    zeros = np.zeros((2, 2), np.float32)
    prints = {data_fingerprint([array]) for array in (zeros, zeros.reshape(4), zeros.view(np.int32))}
    assert len(prints) == 3


def test_a_version_from_new_weights_computes_with_them(bundle_dir: Path, tmp_path: Path) -> None:
    weights = read_weights(bundle_dir / WEIGHTS_FILE)
    weights[-1] = weights[-1] + np.eye(10, dtype=np.float32)[7] * 1000  # the bias of digit 7
    out = tmp_path / "v2"
    bundle = bundle_from_weights(bundle_dir, weights, out, author="fleet", metrics={"rounds": 3.0}, tags=("federated",))
    test_y = digits_splits(SEED, SETTINGS).test.y
    assert read_bundle(out) == bundle
    assert (bundle.author, bundle.tags, bundle.metrics["rounds"]) == ("fleet", ("federated",), 3.0)
    assert bundle.metrics["accuracy"] == pytest.approx((test_y == 7).mean())


def test_a_version_keeps_its_share_of_the_parent(bundle_dir: Path, tmp_path: Path) -> None:
    parent = read_weights(bundle_dir / WEIGHTS_FILE)
    zeros = [np.zeros_like(weight) for weight in parent]
    bundle_from_weights(bundle_dir, zeros, tmp_path / "v2", author="fleet", parent_share=0.25)
    for found, expected in zip(read_weights(tmp_path / "v2" / WEIGHTS_FILE), parent, strict=True):
        np.testing.assert_allclose(found, 0.25 * expected, atol=1e-7)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weights: weights[:-1], "7 arrays found, the model has 8"),
        (lambda weights: [weights[0].T, *weights[1:]], r"expected float32 of shape \(3, 3, 1, 16\)"),
        (lambda weights: [weights[0].astype(np.float64), *weights[1:]], "float64 of shape"),
        (lambda weights: [weights[0] * np.nan, *weights[1:]], "NaN or infinity found"),
    ],
)
def test_weights_that_do_not_fit_make_no_version(bundle_dir: Path, tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    weights = spoil(read_weights(bundle_dir / WEIGHTS_FILE))
    with pytest.raises(WeightsError, match=message):
        bundle_from_weights(bundle_dir, weights, tmp_path / "v2", author="fleet")
    assert not (tmp_path / "v2" / BUNDLE_FILE).exists()
