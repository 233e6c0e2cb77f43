"""The self-test catches every way in which an answer can differ."""

from collections.abc import Mapping

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.engines import Array, GoldenMismatchError, run_golden, to_tensor_data


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
