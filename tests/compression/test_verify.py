"""A variant against its source: what is compared, when it is refused, and which layers are blamed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.compression.techniques.quantize.nets import graph
from tests.compression.zoo import Case, digits, spec

from shoal_compression.budget import Budget
from shoal_compression.data import Samples
from shoal_compression.errors import SourceError
from shoal_compression.model import Model
from shoal_compression.recipe import Tolerance
from shoal_compression.techniques.quantize.static import Int8Static
from shoal_compression.verify import answers_numbers, verify


@pytest.fixture(scope="module")
def case(bundle_dir: Path) -> Case:
    return digits(bundle_dir, "onnx")


def damaged(model: Model, operator: str, share: float) -> tuple[Model, str]:
    """Return the model with noise on the weights of its last node of a kind, and that node's name."""
    proto = onnx.load_from_string(model.content)
    node = [one for one in proto.graph.node if one.op_type == operator][-1]
    tensor: Any = next(one for one in proto.graph.initializer if one.name in node.input and len(one.dims) > 1)
    values = numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).normal(size=values.shape).astype(values.dtype) * values.std() * share
    tensor.CopyFrom(numpy_helper.from_array(values + noise, tensor.name))
    return model.with_content(proto.SerializeToString()), node.name


def test_the_source_agrees_with_itself(case: Case) -> None:
    found = verify(case.model, case.model, case.data.test)
    assert found.is_within
    assert (found.drop_points, found.agreement, found.sqnr_db) == (0.0, 1.0, 200.0)
    assert {one.slice for one in found.slices} == {"half=high", "half=low"}
    assert all(one.source == one.variant for one in found.slices)


@pytest.mark.parametrize("operator", ["Conv", "MatMul"])
def test_the_layer_that_was_damaged_is_blamed_first(case: Case, operator: str) -> None:
    broken, name = damaged(case.model, operator, 3.0)
    found = verify(case.model, broken, case.data.test)
    assert not found.is_within
    assert "points of accuracy, at most 1 are allowed" in found.reasons[0]
    assert found.blamed[0].startswith(f"{name} ({operator}")
    assert found.drop_points is not None
    assert found.drop_low is not None
    assert found.drop_high is not None
    assert found.drop_low < found.drop_points < found.drop_high


def test_of_an_int8_graph_each_layer_is_measured_behind_its_quantization(
    case: Case,
) -> None:
    int8 = Int8Static().apply(case.model, case.data, Budget())
    found = verify(case.model, int8, case.data.test)
    convolutions = [layer for layer in found.layers if layer.operator in {"Conv", "Relu"}]
    assert len(convolutions) >= 2
    assert all(25 < layer.sqnr_db < 70 for layer in convolutions)
    assert found.sqnr_db == pytest.approx(found.layers[-1].sqnr_db, abs=3)


def test_a_slice_that_loses_is_named(case: Case) -> None:
    proto = onnx.load_from_string(case.model.content)
    bias: Any = next(one for one in proto.graph.initializer if list(one.dims) == [10])
    values = numpy_helper.to_array(bias).copy()
    values[:5] -= 100  # no answer below five any more
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    broken = case.model.with_content(proto.SerializeToString())
    wanted = Tolerance(max_drop_points=None, max_slice_drop_points=2.0)
    found = verify(case.model, broken, case.data.test, wanted)
    [reason] = found.reasons
    assert "on half=low, at most 2 are allowed" in reason


def test_without_labels_agreement_decides(case: Case) -> None:
    unlabelled = replace(case.data.test, labels=None)
    broken, _ = damaged(case.model, "Conv", 3.0)
    found = verify(case.model, broken, unlabelled)
    assert found.accuracy is None
    assert "it agrees with the source on" in found.reasons[0]


def test_of_numbers_the_signal_to_noise_ratio_decides(case: Case) -> None:
    numbers = replace(case.data.test, labels=np.zeros(len(case.data.test), np.float32))
    broken, _ = damaged(case.model, "Conv", 3.0)
    found = verify(case.model, broken, numbers)
    assert "an SQNR of" in found.reasons[0]
    assert verify(case.model, case.model, numbers).is_within


def test_outputs_that_are_no_numbers_are_refused(case: Case) -> None:
    proto = onnx.load_from_string(case.model.content)
    bias: Any = next(one for one in proto.graph.initializer if list(one.dims) == [10])
    bias.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, np.float32), bias.name))
    found = verify(case.model, case.model.with_content(proto.SerializeToString()), case.data.test)
    assert found.reasons[0] == "its outputs have NaN or infinity, those of the source have not"


def test_with_a_source_that_answers_no_numbers_nothing_is_compared(case: Case) -> None:
    proto = onnx.load_from_string(case.model.content)
    bias: Any = next(one for one in proto.graph.initializer if list(one.dims) == [10])
    bias.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, np.float32), bias.name))
    broken = case.model.with_content(proto.SerializeToString())
    rows = len(case.data.test)
    with pytest.raises(SourceError, match=rf"has NaN or infinity for {rows} of {rows} samples, first 0; mend"):
        verify(broken, case.model, case.data.test)


def _regressor(factor: float) -> Model:
    """Return the mean of four inputs times a factor, plus 100."""
    weights = {"w": np.full((4, 1), factor / 4, np.float32), "b": np.array([100], np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    return Model("onnx", graph(nodes, weights, (["n", 4], ["n", 1])), (spec("x", -1, 4),), (spec("y", -1, 1),))


def test_a_constant_in_the_place_of_an_unlabelled_regressor_is_refused() -> None:
    samples = Samples({"x": np.random.default_rng(0).normal(0, 100, (200, 4)).astype(np.float32)})
    found = verify(_regressor(1), _regressor(0), samples)
    assert found.is_numbers
    assert not found.is_within
    assert "an SQNR of" in found.reasons[0]
    assert found.points_lost > 10
    almost = verify(_regressor(1), _regressor(0.999), samples)
    assert almost.is_within
    assert almost.points_lost < 1


def test_single_probabilities_without_labels_are_classes() -> None:
    samples = Samples({"x": np.random.default_rng(0).normal(0, 1, (50, 4)).astype(np.float32)})
    answers = np.random.default_rng(0).uniform(0, 1, (50, 1)).astype(np.float32)
    assert not answers_numbers(answers, samples)
    assert answers_numbers(10 * answers, samples)
    assert not answers_numbers(10 * answers, replace(samples, labels=np.ones(50, np.int64)))
    assert not answers_numbers(np.zeros((50, 3), np.float32), samples)
