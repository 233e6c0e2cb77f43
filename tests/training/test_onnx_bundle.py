"""Bundles of ONNX models that come from elsewhere: what is read off the file and the samples, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.fixtures import tiny
from typer.testing import CliRunner

from shoal_training.bring import app, read_slice
from shoal_training.bundle import SliceSpec, read_bundle, read_card
from shoal_training.errors import BundleError, DataError
from shoal_training.onnx_bundle import About, bundle_from_onnx
from shoal_training.onnx_samples import OnnxModel

ABOUT = About("tiny", "ada", labels=("a", "b", "c"))
STREAM = About("stream", "ada", watched=("sound",))
X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
SOUND = np.random.default_rng(1).normal(size=(6, 1, 16)).astype(np.float32)
STILL, RATE = np.zeros((2, 1, 3), dtype=np.float32), np.array(5, dtype=np.int64)


def file_of(name: str) -> Path:
    return tiny.FILES / f"{name}.onnx"


def write_onnx(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Path:
    graph = helper.make_graph(nodes, "made", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def test_the_file_is_taken_as_it_is_and_its_tensors_are_told(tmp_path: Path) -> None:
    bundle_from_onnx(file_of("classify"), {"x": X.astype(np.float64)}, tmp_path / "out", ABOUT)
    bundle = read_bundle(tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == file_of("classify").read_bytes()
    assert (bundle.inputs, bundle.outputs, bundle.batching, bundle.trainer) == (tiny.INPUTS, tiny.OUTPUTS, None, None)
    with np.load(tmp_path / "out" / "calibration.npz") as kept:
        np.testing.assert_array_equal(kept["x"], X)
    assert (bundle.metrics, set(bundle.files)) == ({}, {"model.onnx", "calibration.npz"})


def test_true_labels_measure_its_accuracy_and_are_kept_with_the_samples(tmp_path: Path) -> None:
    y = tiny.probabilities(X).argmax(axis=1)
    y[:5] = (y[:5] + 1) % 3
    bundle = bundle_from_onnx(file_of("classify"), {"x": X, "y": y}, tmp_path / "out", ABOUT)
    assert bundle.metrics == {"accuracy": 0.75}
    with np.load(tmp_path / "out" / "test.npz") as kept:
        np.testing.assert_array_equal(kept["y"], y)


def test_an_axis_more_than_the_inputs_have_makes_each_request_one_sample(tmp_path: Path) -> None:
    samples = {"sound": SOUND, "state": STILL, "rate": RATE}
    bundle = bundle_from_onnx(file_of("stream"), samples, tmp_path / "out", STREAM)
    assert (bundle.batching, bundle.watched) == ("none", ("sound",))
    assert (bundle.inputs, bundle.outputs) == (tiny.STREAM_INPUTS, tiny.STREAM_OUTPUTS)
    with np.load(tmp_path / "out" / "calibration.npz") as kept:
        assert {name: kept[name].shape for name in kept} == {
            "sound": (6, 1, 16),
            "state": (6, 2, 1, 3),
            "rate": (6,),
        }


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        ({"x": X, "z": X}, "arrays x, z found, expected one for each input: x"),
        ({"x": X[0, 0]}, r"x \[\] for \[-1, 4\] found"),
        ({"x": X[:0]}, r"x \[0, 4\] for \[-1, 4\] found"),
        ({"x": X[:, :3]}, "running model.onnx"),
        ({"x": X, "y": np.zeros(3)}, r"y has shape \[3\] for 20 samples"),
    ],
)
def test_samples_that_are_not_the_models_are_refused(samples: dict[str, Any], found: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=found):
        bundle_from_onnx(file_of("classify"), samples, tmp_path / "out", ABOUT)


def test_a_first_axis_that_is_not_one_of_samples_is_found_out_by_running(tmp_path: Path) -> None:
    """The sum over its first axis: two samples together are answered as neither is alone."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    path = write_onnx(tmp_path / "mixed.onnx", nodes, [value("x", ["t", 4])], [value("y", ["t", 4])])
    with pytest.raises(DataError, match="output 'y' is another one than for each alone.*an axis of samples before"):
        bundle_from_onnx(path, {"x": X}, tmp_path / "out", About("mixed", "ada"))
    bundle = bundle_from_onnx(path, {"x": X[:, np.newaxis]}, tmp_path / "again", About("mixed", "ada"))
    assert bundle.batching == "none"


def test_an_answer_that_has_lost_its_samples_is_found_out_as_well(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    path = write_onnx(tmp_path / "sum.onnx", nodes, [value("x", ["n", 4])], [value("y", [])])
    with pytest.raises(DataError, match=r"output 'y' has shape \[\] for two samples"):
        bundle_from_onnx(path, {"x": X}, tmp_path / "out", About("sum", "ada"))


def test_a_batch_of_a_fixed_size_is_one_request(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    path = write_onnx(tmp_path / "one.onnx", nodes, [value("x", [1, 4])], [value("y", [1, 4])])
    bundle = bundle_from_onnx(path, {"x": X[:, np.newaxis]}, tmp_path / "out", About("one", "ada"))
    assert (bundle.batching, bundle.inputs[0].shape) == ("none", (1, 4))


def test_an_answer_of_texts_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its tensor 'greeted' is tensor\(string\), expected one of tensor\(bool\)"):
        bundle_from_onnx(file_of("greet"), {"name": X}, tmp_path / "out", About("greet", "ada"))


def with_text(path: Path) -> Path:
    """Write a model of a number and a text: the number, or 1 more where the text is `up`."""
    keys = {"keys_strings": ["up"], "values_floats": [1.0], "default_float": 0.0}
    nodes = [
        helper.make_node("LabelEncoder", ["word"], ["more"], domain="ai.onnx.ml", **keys),
        helper.make_node("Add", ["x", "more"], ["y"]),
    ]
    inputs = [value("x", ["n", 1]), value("word", ["n", 1], TensorProto.STRING)]
    graph = helper.make_graph(nodes, "made", inputs, [value("y", ["n", 1])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize("kind", [np.str_, np.object_, np.bytes_])
def test_texts_are_kept_without_pickles_and_not_watched(kind: Any, tmp_path: Path) -> None:
    samples = {"x": X[:2, :1], "word": np.array([["up"], ["down"]], dtype=kind)}
    bundle = bundle_from_onnx(with_text(tmp_path / "text.onnx"), samples, tmp_path / "out", About("text", "ada"))
    again = bundle_from_onnx(tmp_path / "text.onnx", samples, tmp_path / "again", About("text", "ada"))
    assert ([one.datatype for one in bundle.inputs], bundle.watched) == (["FP32", "BYTES"], ("x",))
    assert bundle.data_sha256 == again.data_sha256
    with np.load(tmp_path / "out" / "calibration.npz", allow_pickle=False) as kept:
        assert kept["word"].tolist() == [["up"], ["down"]]


def test_a_model_of_texts_alone_has_nothing_to_watch(tmp_path: Path) -> None:
    keys = {"keys_strings": ["up"], "values_floats": [1.0], "default_float": 0.0}
    nodes = [helper.make_node("LabelEncoder", ["word"], ["y"], domain="ai.onnx.ml", **keys)]
    graph = helper.make_graph(nodes, "made", [value("word", ["n", 1], TensorProto.STRING)], [value("y", ["n", 1])])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8),
        tmp_path / "m.onnx",
    )
    with pytest.raises(BundleError, match="all of its inputs take texts"):
        bundle_from_onnx(tmp_path / "m.onnx", {"word": np.array([["up"]])}, tmp_path / "out", About("t", "ada"))


def test_texts_can_not_be_watched_and_are_no_numbers(tmp_path: Path) -> None:
    path, words = with_text(tmp_path / "text.onnx"), np.array([["up"]] * 20)
    with pytest.raises(BundleError, match="word takes texts, which are not watched"):
        bundle_from_onnx(path, {"x": X[:, :1], "word": words}, tmp_path / "1", About("t", "ada", watched=("word",)))
    with pytest.raises(DataError, match="word is float32, expected BYTES values"):
        bundle_from_onnx(path, {"x": X[:, :1], "word": X[:, :1]}, tmp_path / "2", About("t", "ada"))
    with pytest.raises(DataError, match="x is <U2, expected FP32 values"):
        bundle_from_onnx(path, {"x": words, "word": words}, tmp_path / "3", About("t", "ada"))


def test_what_is_said_of_a_model_has_to_fit_it(tmp_path: Path) -> None:
    about = About("stream", "ada", watched=("loudness",))
    samples = {"sound": SOUND, "state": STILL, "rate": RATE}
    with pytest.raises(BundleError, match="watched: no input loudness"):
        bundle_from_onnx(file_of("stream"), samples, tmp_path / "out", about)


def test_many_samples_are_run_in_parts_and_answers_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_training.onnx_samples.RUN_BYTES", 7 * 16)
    runs = [run["probabilities"] for run in OnnxModel(file_of("classify")).runs({"x": X})]
    assert [len(run) for run in runs] == [7, 7, 6]
    np.testing.assert_allclose(np.concatenate(runs), tiny.probabilities(X), atol=1e-6)


def test_the_program_writes_the_bundle_with_its_labels_and_card(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=X)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    (tmp_path / "card.json").write_text('{"licence": "MIT", "data": "ours"}')
    words = [str(file_of("classify")), "--samples", str(tmp_path / "samples.npz"), "--name", "tiny", "--author", "ada"]
    words += ["--labels", str(tmp_path / "labels.txt"), "--card", str(tmp_path / "card.json")]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "tiny: x FP32 [-1, 4]; a request holds any number of samples" in done.output
    card = read_card(tmp_path / "out")
    assert card is not None
    assert card.licence == "MIT"
    assert read_bundle(tmp_path / "out").labels == ("a", "b", "c")


def test_the_program_declares_categories_slices_and_what_is_embedded(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=X)
    words = [str(file_of("classify")), "--samples", str(tmp_path / "samples.npz"), "--name", "tiny", "--author", "ada"]
    words += ["--categorical", "x[1]", "--embedding", "probabilities", "--slice", "high=x[0]:0.5:"]
    words += ["--slice", "band=x[0]:-1:1", "--slice", "one=x[1]:1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    bundle = read_bundle(tmp_path / "out")
    assert (bundle.categorical, bundle.embedded) == (("x[1]",), "probabilities")
    assert bundle.slices == (
        SliceSpec(name="high", feature="x[0]", low=0.5),
        SliceSpec(name="band", feature="x[0]", low=-1, high=1),
        SliceSpec(name="one", feature="x[1]", equals=1),
    )


@pytest.mark.parametrize("text", ["high", "high=x", "high=x::", "high=x:a:b", "=x:1", "high=x:1:2:3", "high=x:nan"])
def test_a_slice_of_another_form_is_told(text: str) -> None:
    with pytest.raises(DataError, match="reading the slice"):
        read_slice(text)


def test_an_output_that_is_not_there_can_not_be_embedded(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="embedded: no output layer"):
        bundle_from_onnx(file_of("classify"), {"x": X}, tmp_path / "out", replace(ABOUT, embedded="layer"))


def test_the_program_tells_what_it_could_not_read(tmp_path: Path) -> None:
    (tmp_path / "samples.npz").write_bytes(b"no archive")
    words = [str(file_of("classify")), "--samples", str(tmp_path / "samples.npz"), "--name", "tiny", "--author", "ada"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "expected an .npz of numbers" in done.output
