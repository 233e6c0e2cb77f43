"""The latency predictor: regressions that find what they were made of, and an error that is found by leaving out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.compression.zoo import spec
from tests.hub.registry.bundles import wide_onnx

from shoal_compression.data import Samples
from shoal_compression.errors import DataError, SourceError
from shoal_compression.model import Model
from shoal_compression.predictor.operators import FileProfile, describe, is_blocked, profile
from shoal_compression.predictor.predictor import LatencyPredictor
from shoal_compression.predictor.regression import fit_times
from shoal_numerics.operator_profile import Operator

MODEL = Model("onnx", wide_onnx(0, 300), (spec("features", -1, 4),), (spec("probabilities", -1, 3),))
SAMPLES = Samples({"features": np.zeros((3, 4), np.float32)})


def operator(macs: int, kind: str = "Conv") -> Operator:
    return Operator(kind=kind, datatype="float", macs=macs, input_bytes=1000, output_bytes=500, output_elements=125)


def made_file(name: str, sizes: list[int], overhead_ms: float = 0.1, kind: str = "Conv") -> FileProfile:
    """A file on a device that takes 2 µs for a call and 1 µs for a thousand MACs, and whose runs have an overhead."""
    times = [2 + one / 1000 for one in sizes]
    operators = tuple(operator(one, kind) for one in sizes)
    return FileProfile(
        name=name, operators=operators, times_us=tuple(times), latency_ms=sum(times) / 1000 + overhead_ms
    )


FILES = [made_file(f"f{n}", [1000 * (n + 1), 50_000 * (n + 1), 400 * (n + 1)]) for n in range(6)]


def test_the_regression_finds_coefficients_and_none_is_negative() -> None:
    random = np.random.default_rng(0)
    features = random.uniform(0, 100, (40, 3))
    assert fit_times(features, features @ [2.0, 0.0, 0.5]) == pytest.approx([2.0, 0.0, 0.5], abs=1e-9)
    assert (fit_times(features, features @ [2.0, -0.01, 0.5]) >= 0).all()


def test_a_file_that_was_left_out_is_predicted_and_the_error_says_how_well() -> None:
    predictor = LatencyPredictor.fit("board", FILES)
    assert predictor.error.files == len(FILES)
    assert predictor.error.worst < 0.01
    new = made_file("new", [7777, 123_456])
    found = predictor.predict(new.operators)
    assert found.latency_ms == pytest.approx(new.latency_ms, rel=0.01)
    assert found.low_ms <= new.latency_ms <= found.high_ms * 1.01
    assert LatencyPredictor.model_validate_json(predictor.model_dump_json()) == predictor


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_the_bounds_hold_what_was_as_far_off_as_the_worst_that_was_left_out(factor: float) -> None:
    """One file takes far less, or far more, than its operators tell; the next such file is within the bounds."""
    odd = FILES[2].model_copy(update={"latency_ms": FILES[2].latency_ms * factor})
    predictor = LatencyPredictor.fit("board", [*FILES[:2], odd, *FILES[3:]])
    found = predictor.predict(odd.operators)
    assert found.low_ms <= odd.latency_ms <= found.high_ms
    assert found.low_ms < found.latency_ms < found.high_ms


def test_an_operator_that_was_not_profiled_is_named() -> None:
    found = LatencyPredictor.fit("board", FILES).predict([operator(1000, "Magic")])
    assert found.unknown == ("Magic float",)
    assert found.latency_ms > 0


def test_an_operator_far_larger_than_those_of_its_kind_is_predicted_by_all_kinds() -> None:
    """Of its kind only calls that hardly work were seen: by these the time of a multiplication can not be told."""
    calls = [made_file(f"c{n}", [10] * 3, kind="Gemm") for n in range(4)]
    odd = [one.model_copy(update={"times_us": (50.0,) * 3, "latency_ms": 0.25}) for one in calls]
    predictor = LatencyPredictor.fit("board", [*FILES, *odd])
    assert predictor.predict([operator(30, "Gemm")]).unknown == ()
    far = predictor.predict([operator(300_000, "Gemm")])
    assert far.unknown == ("Gemm float",)
    assert far.latency_ms > 1.5 * predictor.predict([operator(30, "Gemm")]).latency_ms, (
        "its own kind says 0.15 ms of any"
    )


def test_what_is_left_out_together_is_not_learnt_from() -> None:
    """The files of one recipe are ten times slower than their operators say: left out with all of it, that shows."""
    odd = [one.model_copy(update={"name": f"odd{n}", "latency_ms": 10 * one.latency_ms}) for n, one in enumerate(FILES)]
    files = [*FILES, *odd]
    whole = LatencyPredictor.fit("board", files, lambda one: "odd" if "odd" in one.name else one.name)
    assert whole.error.worst > 0.8


def test_the_error_is_of_operators_as_they_are_found_where_predictions_are_made() -> None:
    """There a file looks as if it did twice as much: an error of about 100 % is what a prediction has."""
    described = {one.name: [operator(2 * each.macs + 2000) for each in one.operators] for one in FILES}
    predictor = LatencyPredictor.fit("board", FILES, described=described)
    assert predictor.error.median > 0.5
    assert LatencyPredictor.fit("board", FILES, described={}).error.worst < 0.01


def test_too_few_files_are_refused() -> None:
    with pytest.raises(DataError, match="2 found, expected at least 3"):
        LatencyPredictor.fit("board", FILES[:2])


def test_a_real_file_is_profiled_operator_by_operator() -> None:
    found = profile(MODEL, SAMPLES, "wide", runs=10)
    assert len(found.times_us) == len(found.operators) > 0
    products = [one for one in found.operators if "MatMul" in one.kind]
    assert [one.macs for one in products] == [4 * 300, 300 * 3]
    assert products[0].input_bytes == 4 * (4 + 4 * 300)
    assert sum(found.times_us) / 1000 < 20 * found.latency_ms


def test_a_file_of_another_form_is_refused() -> None:
    with pytest.raises(SourceError, match="a tflite file found, expected onnx"):
        profile(MODEL.with_content(b"x", form="tflite"), SAMPLES, "lite")


def convolution() -> bytes:
    weight = np.zeros((16, 8, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 6, 6])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_convolution_is_described_as_a_board_without_kernels_in_blocks_runs_it() -> None:
    feeds = {"x": np.zeros((1, 8, 6, 6), np.float32)}
    [fused] = describe(convolution(), feeds, is_blocked=False)
    assert (fused.kind, fused.macs) == ("FusedConv/2d dense", 16 * 36 * 72)
    file = FileProfile(name="a", operators=(fused,), times_us=(1.0,), latency_ms=1.0)
    assert not is_blocked([file])
    reorder = Operator("ReorderOutput", "float", 0, 1, 1, 1)
    assert is_blocked([file, file.model_copy(update={"operators": (fused, reorder)})])


def test_a_file_that_does_not_run_is_not_described() -> None:
    with pytest.raises(SourceError, match="finding the operators of a file: ONNX Runtime does not run it"):
        describe(b"no model", {}, is_blocked=True)
    with pytest.raises(SourceError, match="ONNX Runtime does not run it"):
        describe(convolution(), {"x": np.zeros((1, 8, 6, 7), np.float32)}, is_blocked=True)
