"""The latency predictor: regressions that find what they were made of, and an error that is found by leaving out."""

import numpy as np
import pytest
from tests.compression.zoo import spec
from tests.hub.registry.bundles import wide_onnx

from shoal_compression.data import Samples
from shoal_compression.errors import DataError, SourceError
from shoal_compression.model import Model
from shoal_compression.predictor.operators import FileProfile, profile
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


def test_an_operator_that_was_not_profiled_is_named() -> None:
    found = LatencyPredictor.fit("board", FILES).predict([operator(1000, "Magic")])
    assert found.unknown == ("Magic float",)
    assert found.latency_ms > 0


def test_what_is_left_out_together_is_not_learnt_from() -> None:
    """The files of one recipe are ten times slower than their operators say: left out with all of it, that shows."""
    odd = [one.model_copy(update={"name": f"odd{n}", "latency_ms": 10 * one.latency_ms}) for n, one in enumerate(FILES)]
    files = [*FILES, *odd]
    whole = LatencyPredictor.fit("board", files, lambda one: "odd" if "odd" in one.name else one.name)
    assert whole.error.worst > 0.8


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
