"""The self-test catches every way in which an answer can differ."""

from collections.abc import Mapping

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.engines import Array, GoldenMismatchError, golden_inputs, run_golden, to_tensor_data
from shoal_contract.manifest import GeneratedTensor, SampledTensor, Variant, VersionManifest
from shoal_numerics.golden_tensors import generated_array, golden_output


class _Answers:
    """An engine that gives one answer to everything."""

    inputs = tiny.INPUTS
    outputs = tiny.OUTPUTS

    def __init__(self, **answer: Array) -> None:
        self._answer = answer

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert set(inputs) == {"x"}
        return dict(self._answer)

    def close(self) -> None:
        """Hold nothing."""


def _run(answer: Array, expected: Array, tolerance: float = 0.1) -> float:
    variant = tiny.onnx_variant(golden_outputs={"probabilities": to_tensor_data(expected)}, golden_tolerance=tolerance)
    return run_golden(_Answers(probabilities=answer), tiny.tiny_manifest(), variant)


def test_a_difference_just_within_the_tolerance_passes() -> None:
    assert _run(np.array([1.0, 2.0], "f4"), np.array([1.0, 2.0625], "f4"), 0.0625) == pytest.approx(0.0625)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (np.array([1.0, 2.0], "f4"), np.array([1.0, 2.2], "f4")),
        (np.array([np.nan, 2.0], "f4"), np.array([1.0, 2.0], "f4")),
        (np.array([np.inf, 2.0], "f4"), np.array([1.0, 2.0], "f4")),
        (np.array([np.inf, 2.0], "f4"), np.array([-np.inf, 2.0], "f4")),
        (np.array([[1.0, 2.0]], "f4"), np.array([1.0, 2.0], "f4")),
        (np.array([1.0, 2.0], "f8"), np.array([1.0, 2.0], "f4")),
        (np.array([200], "u1"), np.array([10], "u1")),
        (np.array([True]), np.array([False])),
    ],
)
def test_values_shapes_and_datatypes_that_differ_are_refused(answer: Array, expected: Array) -> None:
    with pytest.raises(GoldenMismatchError, match="self-test of tiny version 1"):
        _run(answer, expected)


def test_the_same_nan_and_infinity_on_both_sides_pass() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0], "f4")
    assert _run(odd, odd, 0.0) == 0


def test_a_missing_output_is_refused() -> None:
    with pytest.raises(GoldenMismatchError, match="is nothing"):
        run_golden(_Answers(), tiny.tiny_manifest(), tiny.onnx_variant())


def _wide(*, change: int | None = None) -> tuple[VersionManifest, Variant, _Answers]:
    """A version whose golden input and output are too large to travel; one element of its answer may be another one."""
    made = GeneratedTensor(datatype="FP32", shape=(1, 100_000), seed=3, low=-1.0, high=1.0)
    answer = -generated_array(made)
    stated = golden_output(answer)
    assert isinstance(stated, SampledTensor)
    if change is not None:
        answer[0, change * stated.step] += 1.0
    manifest = tiny.tiny_manifest().model_copy(update={"golden_inputs": {"x": made}})
    return manifest, tiny.onnx_variant(golden_outputs={"probabilities": stated}), _Answers(probabilities=answer)


def test_an_input_that_is_made_here_and_an_output_that_is_stated_in_part_are_compared() -> None:
    manifest, variant, engine = _wide()
    assert golden_inputs(manifest)["x"].shape == (1, 100_000)
    assert run_golden(engine, manifest, variant) == 0.0


@pytest.mark.parametrize("change", [0, 1000, 49_999])
def test_an_element_that_is_stated_and_differs_is_found(change: int) -> None:
    manifest, variant, engine = _wide(change=change)
    with pytest.raises(GoldenMismatchError, match="differs by 1"):
        run_golden(engine, manifest, variant)


def test_an_output_of_another_shape_is_refused_though_its_stated_part_is_the_same() -> None:
    manifest, variant, engine = _wide()
    other = _Answers(probabilities=engine.infer({"x": np.zeros(0)})["probabilities"].reshape(2, 50_000))
    with pytest.raises(GoldenMismatchError, match=r"is float32 \[2, 50000\], expected float32 \[1, 100000\]"):
        run_golden(other, manifest, variant)
